"""Listening sockets."""

import os
import socket

from app.core.config import ConfigurationError, checked_host

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is a free one. Raises `ConfigurationError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        checked_host(host)
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        number = error.errno if isinstance(error, OSError) else None
        # A resolver's errors have numbers of their own, below zero, and texts of their own.
        reason = os.strerror(number) if number is not None and number > 0 else str(error)
    except ValueError as error:
        reason = str(error)
    raise ConfigurationError(f"can't listen on {host} port {port}: {reason}")


def adopt(descriptor: int) -> socket.socket:
    """The listening socket of this descriptor. Raises `ConfigurationError`."""
    try:
        found = socket.socket(fileno=descriptor)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        reason = error.strerror
    except (ValueError, OverflowError):
        reason = "not a descriptor's number"
    else:
        if listens and found.family in (socket.AF_INET, socket.AF_INET6):
            return found
        found.detach()  # it is not ours to close
        reason = "not a listening TCP socket"
    raise ConfigurationError(f"--fd {descriptor}: {reason}")
