"""The page of settings."""

from genlock.cli.settings_table import rows
from genlock.service.settings import Settings
from scripts.reference.markdown import code, paragraphs, table
from scripts.reference.models import shape

INTRODUCTION = """
Each setting is a variable of the environment. Times are in seconds, sizes in commands unless the name says otherwise.
`genlock settings` shows the present values. [In production](../production.md#3-the-image-and-its-settings) says when to
change which.
"""


def page() -> str:
    schema = Settings.model_json_schema()["properties"]
    # The defaults alone, whatever the environment says.
    declared = zip(schema.values(), rows(Settings.model_construct()), strict=True)
    return "\n\n".join(
        [
            "# Settings",
            paragraphs(INTRODUCTION),
            table(
                ["variable", "", "default", "takes"],
                (
                    [code(row.variable), row.description, _written(row.default), shape(field, {})]
                    for field, row in declared
                ),
            ),
        ]
    )


def _written(default: object) -> str:
    if default == "":
        return "empty"
    return code(str(default).lower() if isinstance(default, bool) else default)
