"""Room: how many bytes of messages a consumer holds, and what becomes of a delivery for which there is none left.

The broker counts messages, not bytes, and sends what the prefetch allows at once, whatever its size. So the prefetch
follows the size that messages had lately (registration.py). Where small messages turn large all at once, the
body of a delivery without room is thrown away as it arrives. Of that delivery only the tag is held, until the
broker may bring it again.

The broker counts each return, and the queue has a limit of its own (declare.py), not the default of RabbitMQ 4. A
delivery that came back twice is decided by itself, like one that may have crashed a process. It is not taken for such:
attempts are counted by process, and an orderly return leaves none behind (tests/e2e/test_returned_messages.py).
"""

from collections.abc import Iterable


class Room:
    """The held bytes of one consumer within a session, at most `bytes_max` and one message of any size."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._held: dict[int, int] = {}
        """The size of each held message, by its tag."""
        self._bytes = 0
        self._refused: dict[int, int] = {}
        """The sizes of the messages for which there was no room, by their tags."""

    @property
    def lacking(self) -> int:
        """How many deliveries have found no room and were not returned yet."""
        return len(self._refused)

    def has(self, size: int) -> bool:
        """Tell whether a message of that many bytes can be held too."""
        return not self._held or self._bytes + size <= self.bytes_max

    def take(self, tag: int, size: int) -> None:
        """Hold a message."""
        self._held[tag] = size
        self._bytes += size

    def refuse(self, tag: int, size: int) -> None:
        """Remember a delivery whose body was thrown away."""
        self._refused[tag] = size

    def leave(self, tags: Iterable[int]) -> None:
        """Hold these messages no longer."""
        for tag in tags:
            self._bytes -= self._held.pop(tag, 0)

    def returned(self, *, everything: bool) -> list[int]:
        """Take the deliveries, in their order, that go back to the broker: as many as find room now, or all."""
        free = self.bytes_max - self._bytes
        tags: list[int] = []
        for tag, size in self._refused.items():
            free -= size
            if not everything and free < 0 and (tags or self._held):
                break
            tags.append(tag)
        for tag in tags:
            del self._refused[tag]
        return tags
