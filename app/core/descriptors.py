"""Raises the limit of file descriptors, and finds out whether few are left."""

import os
import resource

# Descriptors that are kept for the rest of a process: its pools, its clients of Redis and of the
# store, files of uploads and downloads.
RESERVE = 64


def raise_limit() -> None:
    """Raise this process's limit, and its children's, to the hard one.

    The soft one is often 1,024, for programs that use `select`; each client takes one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS reports no hard limit and allows less: the soft limit stays as it is.
        return


def last_for_clients() -> int:
    """The highest descriptor that a client's connection should have.

    The kernel assigns the lowest free one: a higher descriptor means that all below are taken.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - min(RESERVE, soft // 4)


def lowest_free() -> int | None:
    """The descriptor that the kernel would assign next; None if none is left."""
    try:
        descriptor = os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
    os.close(descriptor)
    return descriptor
