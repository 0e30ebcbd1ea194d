"""What a replica lets the broker bring, as its frames say it: by connection and channel."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.support.frame_proxy import ACK, DELIVER, QOS, Frame
from tests.support.proxy import Way


@dataclass
class Brought:
    """The deliveries of a channel, and its prefetches."""

    prefetches: list[int] = field(default_factory=list)
    """The prefetches that were asked for, in their order."""
    deliveries: int = 0
    acknowledgements: int = 0
    before_the_first: int = 0
    """How many deliveries came before the first acknowledgement."""


class Prefetches:
    """Watches the frames of a replica, and passes all of them on."""

    def __init__(self) -> None:
        self._channels: dict[tuple[int, int], Brought] = defaultdict(Brought)

    def __call__(self, frame: Frame) -> Frame:
        brought = self._channels[frame.connection, frame.channel]
        match frame.way, frame.method:
            case Way.REQUESTS, method if method == QOS:
                brought.prefetches.append(int.from_bytes(frame.payload[8:10], "big"))
            case Way.REQUESTS, method if method == ACK:
                brought.acknowledgements += 1
            case Way.ANSWERS, method if method == DELIVER:
                brought.deliveries += 1
                brought.before_the_first += not brought.acknowledgements
        return frame

    @property
    def brought(self) -> list[Brought]:
        """The channels on which anything was brought, in the order of their connections."""
        return [brought for _, brought in sorted(self._channels.items()) if brought.deliveries]
