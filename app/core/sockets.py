"""Listening sockets."""

import os
import socket

from app.core.config import ConfigurationError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is a free one. Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        # A resolver's errors have numbers of their own, below zero, and texts of their own.
        reason = os.strerror(number) if number is not None and number > 0 else str(error)
        raise ConfigurationError(f"can't listen on {host} port {port}: {reason}") from None
