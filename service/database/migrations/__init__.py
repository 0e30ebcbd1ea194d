"""The versions of the schema, as numbered SQL files, applied in order and never edited once released."""
