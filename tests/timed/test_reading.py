"""Reading takes a bounded time for each byte, whatever the bytes say.

Processor time is measured, and held against what Python's own parser takes for a byte of usual JSON just before, some
12 ns on a shared machine: so a machine that is slow for a while fails no test.
"""

import gc
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from genlock.consumers.process.gc_tuning import collect_seldom
from genlock.schemas.decode import COMMAND_BYTES_MAX, READABLE_BYTES_MAX, Command, decode, decode_bulk
from tests.support.factories import SOME_ID

TIMES_USUAL_MAX = 48
TIMES_USUAL_UNREAD_MAX = 2
RUNS = 5

USUAL = json.dumps([{"a": [1.5, "text"], "b": None}] * 10_000)

FRONT = f'{{"specversion": "1.0", "id": "{SOME_ID}", "source": "/tests", "type": "document.put", "subject": "d", '
FRONT += '"data": {"expected_generation": null, "body": {"a": '
BACK = "}}}"
ROOM = COMMAND_BYTES_MAX - len(FRONT) - len(BACK) - 2

FAULTS = ("NaN", "1e400", "1e-400", "0.1234567890123456789", "9" * 25, r'"\u0000"', r'"\ud800"', '{"a":1,"a":2}')

chance = random.Random(16)


def repeated(unit: str) -> str:
    """An array of the same part, of 1 MiB less the envelope."""
    times = (ROOM - 2) // (len(unit) + 1)
    return f"[{','.join([unit] * times)}]"


def drawn(draw: Callable[[], Any]) -> str:
    """An array of parts that differ."""
    parts: list[str] = []
    size = 2
    while size < ROOM - 64:
        parts.append(str(draw()))
        size += len(parts[-1]) + 1
    return f"[{','.join(parts)}]"


def behind(fault: str, unit: str) -> str:
    """A fault at the end of an array of innocent parts."""
    return f"{repeated(unit)[: -len(unit) - len(fault) - 2].rpartition(',')[0]},{fault}]"


ADVERSARIAL = {
    **{
        unit: repeated(unit)
        for unit in (*FAULTS, "1", "1e9", "0.1", "[]", "{}", '""', "[[1]]", '{"":0}', '{"a":[1.5]}')
    },
    **{f"{fault} behind {unit}": behind(fault, unit) for fault in FAULTS for unit in ("1", '"a"', "[]", '{"a":1}')},
    "60 levels": repeated("[" * 60 + "]" * 60),
    "500 levels": repeated("[" * 500 + "]" * 500),
    "no end of levels": "[" * (ROOM // 2) + "]" * (ROOM // 2),
    "members": f"{{{','.join(f'{chr(34)}{number:x}{chr(34)}:0' for number in range(ROOM // 10))}}}",
    "one member": f"{{{','.join(['0'] * 0 + [chr(34) + 'a' + chr(34) + ':1'] * (ROOM // 6 - 2))}}}",
    "digits": f"0.{'1' * (ROOM - 2)}",
    "digits of an integer": "1" * ROOM,
    "escapes": f'"{chr(92)}u0041{(chr(92) + "u003a") * (ROOM // 6 - 2)}"',
    "backslashes": f'"{chr(92) * (ROOM // 2 * 2 - 2)}"',
    "brackets in a text": f'"{"[{" * (ROOM // 2 - 1)}"',
    "spaces": f"[{' ' * (ROOM - 2)}]",
    "doubles": drawn(chance.random),
    "doubles of 17 digits": drawn(lambda: f"{chance.random():.17g}"),
    "doubles of 25 digits": drawn(lambda: f"{chance.random():.25g}"),
    "smallest doubles": drawn(lambda: f"{chance.randrange(10, 99) / 10}e-3{chance.randrange(10, 23)}"),
    "numbers in texts": drawn(lambda: f'": 0.{chance.randrange(10**18, 10**19)} ,"'),
}


@pytest.fixture(autouse=True, scope="module")
def collecting_as_in_the_service() -> Iterator[None]:
    threshold = gc.get_threshold()
    collect_seldom()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def takes_less(times_usual: int, body: bytes, read: Callable[[bytes], Any]) -> bool:
    """Tell whether a byte takes less, in one of a few runs, than so many bytes of usual JSON."""

    def ns_per_byte(reading: Callable[[], Any], size: int) -> float:
        begin = time.thread_time_ns()
        reading()
        return (time.thread_time_ns() - begin) / size

    def once() -> float:
        usual = ns_per_byte(lambda: json.loads(USUAL), len(USUAL))
        return ns_per_byte(lambda: read(body), len(body)) / usual

    return any(once() < times_usual for _ in range(RUNS))


def as_command(body: bytes) -> None:
    assert isinstance(decode(body, "document.put"), Command)


def as_bulk(body: bytes) -> None:
    assert isinstance(decode_bulk(body, "document.put"), list)


@pytest.mark.parametrize("value", ADVERSARIAL.values(), ids=[name[:40] for name in ADVERSARIAL])
def test_no_command_of_1_mib_takes_long_for_a_byte(value: str) -> None:
    body = f"{FRONT}{value}{BACK}".encode()
    assert 0.9 * COMMAND_BYTES_MAX < len(body) <= COMMAND_BYTES_MAX
    assert takes_less(TIMES_USUAL_MAX, body, as_command)
    assert takes_less(TIMES_USUAL_MAX, b"[" + body + b"]", as_bulk)


@pytest.mark.parametrize("unit", [*FAULTS, "1", "[]", '"a"', '"a":1', "[" * 9, "\\"], ids=lambda unit: unit[:24])
@pytest.mark.parametrize("fill", ["array", "text", "members"])
def test_larger_command_is_refused_unread(unit: str, fill: str) -> None:
    many = ",".join([unit] * ((READABLE_BYTES_MAX - len(FRONT) - 8) // (len(unit) + 1)))
    value = {"array": f"[{many}]", "text": f'"{many}"', "members": f"1}}}}, {many}"}[fill]
    body = f"{FRONT}{value}{BACK if fill != 'members' else '}'}".encode()
    assert takes_less(TIMES_USUAL_UNREAD_MAX, body, as_command)
