"""The minimum rates at which a client must send a body and read a response.

Each connection is checked once a second, so that no request has to read a clock.
"""

import fcntl
import termios
from asyncio import Transport

# Bytes per second, on average: Kestrel's and IIS's default. GPRS, the slowest network that is still
# in use, carries ten times as much.
MIN_RATE = 240

# Seconds without progress that a client may take: a phone changes its cell or is in a tunnel.
PATIENCE = 30


class Pace:
    """A client's budget of seconds: each second takes one, `MIN_RATE` bytes give one back."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: float = PATIENCE

    def reset(self) -> None:
        self._left = PATIENCE

    def keeps(self, moved: int) -> bool:
        """Count a second in which `moved` bytes were sent; False if the client is too slow."""
        self._left = min(PATIENCE, self._left - 1 + moved / MIN_RATE)
        return self._left > 0


class Outflow:
    """Checks that a client reads its response fast enough.

    `in_pieces` means that more is written only when the piece before it has been sent. Otherwise
    call `restart` then: other writes, such as pongs, do not count as progress.
    """

    __slots__ = ("_in_pieces", "_pace", "_transport", "_unsent")

    def __init__(self, transport: Transport, *, in_pieces: bool = True) -> None:
        self._transport = transport
        self._in_pieces = in_pieces
        self._pace = Pace()
        self._unsent = 0

    def restart(self) -> None:
        """Give the client its full time again."""
        self._unsent = 0
        self._pace.reset()

    def keeps(self) -> bool:
        """Count a second; False if the client is too slow. Not for use while more is written."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self.restart()
            return True
        before, self._unsent = self._unsent, waiting + self._in_kernel()
        moved = before - self._unsent
        if moved < 0 and (self._in_pieces or not before):
            # Another piece of the response was written, so the one before it has been sent.
            self._pace.reset()
            return True
        return self._pace.keeps(max(moved, 0))

    def _in_kernel(self) -> int:
        """Bytes in the socket's buffer that the client's system has not acknowledged.

        Up to 4 MB: the transport's own buffer does not change while a slow client reads a third
        of that.
        """
        size = bytearray(4)
        try:
            descriptor = self._transport.get_extra_info("socket").fileno()
            fcntl.ioctl(descriptor, termios.TIOCOUTQ, size)
        except (AttributeError, OSError, ValueError):
            # Closed meanwhile, or not supported by the system: only the transport's buffer counts.
            return 0
        return int.from_bytes(size, "little")
