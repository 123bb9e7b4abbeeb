"""How slow a client may be: a body that arrives, a response that leaves.

A connection is looked at once a second, and no clock is read for a request.
"""

import fcntl
import termios
from asyncio import Transport

# Bytes per second, on average: Kestrel's and IIS's default. GPRS, the slowest network that is still
# in use, carries ten times as much.
MIN_RATE = 240

# Seconds without any progress: a phone that changes its cell, or drives through a tunnel.
PATIENCE = 30


class Pace:
    """Patience with one client: a second takes one from it, `MIN_RATE` bytes give one back."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: float = PATIENCE

    def reset(self) -> None:
        self._left = PATIENCE

    def keeps(self, moved: int) -> bool:
        """After another second in which so many bytes moved: whether that is enough."""
        self._left = min(PATIENCE, self._left - 1 + moved / MIN_RATE)
        return self._left > 0


class Outflow:
    """Whether a client takes what it is sent."""

    __slots__ = ("_pace", "_transport", "_unsent")

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pace = Pace()
        self._unsent = 0

    def keeps(self) -> bool:
        """After another second; only while nothing is added to what is to be sent."""
        waiting = self._transport.get_write_buffer_size()
        if not waiting:
            self._unsent = 0
            self._pace.reset()
            return True
        unsent = waiting + self._in_kernel()
        moved = self._unsent - unsent
        self._unsent = unsent
        if moved < 0:
            # A further piece of the response: what came before it has left.
            self._pace.reset()
            return True
        return self._pace.keeps(moved)

    def _in_kernel(self) -> int:
        """Bytes sent that the client's system has not acknowledged.

        Up to 4 MB: the transport's own buffer stands still while a slow client takes a third of
        that.
        """
        size = bytearray(4)
        try:
            descriptor = self._transport.get_extra_info("socket").fileno()
            fcntl.ioctl(descriptor, termios.TIOCOUTQ, size)
        except (AttributeError, OSError, ValueError):
            # Closed meanwhile, or a system that does not say: the transport's buffer has to do.
            return 0
        return int.from_bytes(size, "little")
