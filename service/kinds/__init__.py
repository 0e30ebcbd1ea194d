"""The kinds of records, each with its rules, its table, its statements, its reads and its checks."""
