"""What one slot may take."""

from pathlib import Path

import psutil
import pytest

from worker.memory import container_limit, share

MACHINE = psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("v2", "v1", "limit"),
    [
        (str(64 << 20), None, 64 << 20),
        (None, str(64 << 20), 64 << 20),
        ("max", None, MACHINE),
        (None, str(2**63 - 4096), MACHINE),
        (str(MACHINE + 1), None, MACHINE),
        (None, None, MACHINE),
    ],
)
def test_a_container_without_a_limit_has_the_machines(
    tmp_path: Path, v2: str | None, v1: str | None, limit: int
) -> None:
    files = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    for file, written in zip(files, (v2, v1), strict=True):
        if written is not None:
            file.write_text(f"{written}\n")
    assert container_limit(files) == limit


def test_all_slots_and_the_parent_stay_below_the_limit() -> None:
    limit = 4 << 30
    for slots in (1, 2, 7, 16):
        assert 0.9 * limit < slots * share(slots, limit) < limit - (70 << 20)
