"""A slot's share of the container's memory."""

from pathlib import Path

# cgroup v2, then v1, as a container sees its own.
LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

# v1 says "no limit" with a number near 2**63.
UNLIMITED = 1 << 60

# What Celery's parent and a shared copy of the interpreter take (bytes, measured: 70 MiB).
PARENT = 100 << 20


def container_limit(files: tuple[Path, ...] = LIMITS) -> int | None:
    """Bytes, None where there is no limit."""
    for file in files:
        try:
            written = file.read_text().strip()
        except OSError:
            continue
        if written.isdigit() and int(written) < UNLIMITED:
            return int(written)
    return None


def share(concurrency: int, limit: int | None) -> int | None:
    """What one of `concurrency` slots may take, so that all of them stay below the limit."""
    if limit is None:
        return None
    return max((limit - PARENT) // concurrency, 64 << 20)
