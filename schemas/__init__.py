"""The wire contract, version 1, as pydantic models: envelope, commands, outcomes, record states, catalogue.

Names and codes never change their meaning; fields may be added. Nothing here does input or output.
"""
