"""A slot's share of the container's memory."""

from pathlib import Path

import psutil

# cgroup v2, then v1, as a container sees its own.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

# What Celery's parent and a shared copy of the interpreter take (bytes, measured: 70 MiB).
PARENT = 100 << 20


def container_limit(files: tuple[Path, ...] = LIMITS) -> int:
    """Bytes: the machine's memory where the container has no limit, or one beyond it."""
    limit: int = psutil.virtual_memory().total
    for file in files:
        try:
            written = file.read_text().strip()
        except OSError:
            continue
        # "max" in v2, a number near 2**63 in v1: no limit.
        if written.isdigit():
            limit = min(limit, int(written))
    return limit


def share(concurrency: int, limit: int) -> int:
    """What one of `concurrency` slots may take, so that all of them stay below the limit."""
    return max((limit - PARENT) // concurrency, 64 << 20)
