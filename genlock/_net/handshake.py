"""Records the bytes that a server sends while an AMQP connection is being opened.

aiormq does not report why a broker closes a connection at that stage, and reads the greeting of any other server as
the beginning of a very long frame. So this module inspects the bytes until the connection is open.
"""

import asyncio

import pamqp.frame
from pamqp import commands
from pamqp.exceptions import PAMQPException

METHOD_FRAME = b"\x01"
TLS_ALERT = b"\x15"
HEAD_BYTES = 7
"""The length of aiormq's first read."""
SHOWN_BYTES = 20


class NotAmqpError(Exception):
    """The server does not speak AMQP 0-9-1 on this port. The text says what it speaks instead."""


class Handshake:
    """Records what a connection reads until `end`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._read, self._readexactly = reader.read, reader.readexactly
        self._heard = bytearray()
        # Only of this connection. The service reads by one method, the client by the other.
        reader.read, reader.readexactly = self._note, self._note_exactly  # type: ignore[method-assign]

    def end(self) -> None:
        """Stop recording."""
        self._reader.read, self._reader.readexactly = self._read, self._readexactly  # type: ignore[method-assign]

    async def _note(self, n: int = -1) -> bytes:
        read = await self._read(n)
        self._hear(read)
        return read

    async def _note_exactly(self, n: int) -> bytes:
        try:
            read = await self._readexactly(n)
        except asyncio.IncompleteReadError as error:
            self._hear(error.partial, ended=True)
            raise
        self._hear(read)
        return read

    def _hear(self, read: bytes, *, ended: bool = False) -> None:
        self._heard += read
        said = bytes(self._heard[:SHOWN_BYTES])
        if said.startswith(METHOD_FRAME) or not said or (len(said) < HEAD_BYTES and not ended):
            return
        if said.startswith(TLS_ALERT):
            raise NotAmqpError("expects TLS on this port: begin the URL with amqps://")
        if said.startswith(b"AMQP"):
            raise NotAmqpError("speaks another version of AMQP than 0-9-1 on this port")
        raise NotAmqpError(f"is no AMQP broker on this port: it says {said.decode('ascii', 'replace')!r}")

    @property
    def silent(self) -> bool:
        """Whether the server has sent nothing."""
        return not self._heard

    def farewell(self) -> commands.Connection.Close | None:
        """The broker's close frame, if it sent one."""
        rest = bytes(self._heard)
        while rest:
            try:
                size, _channel, frame = pamqp.frame.unmarshal(rest)
            except PAMQPException:
                return None
            if isinstance(frame, commands.Connection.Close):
                return frame
            rest = rest[size:]
        return None
