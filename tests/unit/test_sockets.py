"""Listening sockets, and what is refused in their place."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from app.core.config import ConfigurationError
from app.core.sockets import adopt, listen


@pytest.mark.parametrize(
    "host", ["é" * 80, "a" * 64, "a..b", "a b", "a\0b", "a\nb", "\udcff", "::g", "999.1.1.1"]
)
def test_a_host_that_can_not_be_listened_on_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="can't listen on"):
        listen(host, 0)


def test_a_listening_socket_is_adopted() -> None:
    for host in ("127.0.0.1", "::1"):
        with listen(host, 0) as opened, closing(adopt(os.dup(opened.fileno()))) as adopted:
            assert adopted.getsockname() == opened.getsockname()


@contextmanager
def others() -> Iterator[list[int]]:
    """Descriptors of files and sockets that take no TCP connections."""
    with (
        socket.socket() as unbound,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as local,
        Path(os.devnull).open() as file,
    ):
        local.bind("")  # a name that Linux chooses
        local.listen()
        yield [opened.fileno() for opened in (unbound, datagrams, local)] + [file.fileno()]


def test_a_descriptor_that_does_not_listen_is_refused_and_stays_open() -> None:
    with others() as found:
        for descriptor in found:
            with pytest.raises(ConfigurationError, match=f"^--fd {descriptor}: [^:]+$"):
                adopt(descriptor)
            os.fstat(descriptor)


@pytest.mark.parametrize("descriptor", [-1, 1_000_000, 2**31, 10**30])
def test_a_number_that_is_no_descriptor_is_refused(descriptor: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^--fd {descriptor}: [^:]+$"):
        adopt(descriptor)
