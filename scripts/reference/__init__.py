"""The reference pages in docs/reference/, made from the catalogue, the models and the source: `make reference`.

The pages take all words from the code that they describe, so that a new command, code, query, setting, metric or log
action appears without a change here.
"""
