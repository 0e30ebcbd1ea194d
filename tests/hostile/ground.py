"""What a hostile run finds in the database: large records of each kind, some of which the attackers know well."""

import hashlib
import json
import uuid
from dataclasses import dataclass, field

from tests.hostile.rows import ALLOCATIONS, CONSUMERS, INVENTORIES, PROJECT, PROVIDERS, STACKS
from tests.support.database import Connection

MANY_PROVIDERS = 11_000
CHAIN = 300
"""How long the longest branch of a tree is."""

CLASSES = 4_000
MODEST_CLASSES = 50
LARGE_PROVIDERS = 20
LARGE_CONSUMERS = 30
LARGE_STACKS = 60
TEMPLATE_BYTES = 500_000


def row_id(text: str) -> str:
    """The id that the statements give the row of this name."""
    return str(uuid.UUID(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()))


@dataclass
class Ground:
    """What attackers know: names of records, and the tokens that these have by now."""

    tokens: dict[str, int] = field(default_factory=dict)
    """Generations, by any name that an attack chooses."""

    small_providers = tuple(row_id(f"p{number}") for number in range(61, MANY_PROVIDERS - CHAIN))
    """Have one class each."""
    large_provider = row_id("p1")
    """Has inventories of thousands of classes, and consumers that have some of each."""
    top = row_id(f"p{MANY_PROVIDERS - CHAIN}")
    """The root of a long branch."""
    bottom = row_id(f"p{MANY_PROVIDERS - 1}")
    """The last one of that branch."""
    consumer = row_id("c1")
    """Has allocations of thousands of classes."""
    stack = row_id("s1")
    """Has two large templates."""
    body_bytes = 500_000
    document = "ground"
    """Has a large body."""
    hot = "hot"
    """Has a small body, which is changed again and again."""
    again = row_id("again")
    """The id of a command that is sent again and again."""
    project = PROJECT
    """Has the large consumers."""
    command = row_id("put")
    """The id of the command that made the document."""
    providers = tuple(row_id(f"p{number}") for number in range(1, MANY_PROVIDERS - CHAIN))

    def token(self, name: str) -> int:
        """The generation that a record of an attack has, if all its commands are accepted; one more each time."""
        self.tokens[name] = self.tokens.get(name, -1) + 1
        return self.tokens[name]


BRANCH = """
UPDATE providers SET parent_id = md5('p' || (right(name, -1)::int - 1))::uuid
WHERE right(name, -1)::int > $1 AND right(name, -1)::int < $2
"""


async def prepare(owner: Connection) -> Ground:
    """Fill the database."""
    await owner.execute(PROVIDERS, MANY_PROVIDERS)
    await owner.execute(INVENTORIES, MANY_PROVIDERS, 1)
    await owner.execute(f"{INVENTORIES} ON CONFLICT DO NOTHING", LARGE_PROVIDERS, CLASSES)
    await owner.execute(f"{INVENTORIES} ON CONFLICT DO NOTHING", 2 * LARGE_PROVIDERS, MODEST_CLASSES)
    await owner.execute(BRANCH, MANY_PROVIDERS - CHAIN, MANY_PROVIDERS)
    await owner.execute(CONSUMERS, LARGE_CONSUMERS)
    await owner.execute(ALLOCATIONS, LARGE_CONSUMERS, CLASSES)
    await owner.execute(STACKS, LARGE_STACKS, json.dumps({"a": "x" * TEMPLATE_BYTES}))
    await owner.execute("ANALYZE")
    return Ground()
