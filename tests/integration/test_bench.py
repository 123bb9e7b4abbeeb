"""The benchmarks run. What they find is for a quiet machine: `make bench-observability`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_observability() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.observability", "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode in (0, 1), ran.stderr
    assert len(re.findall(r"^.+ -?[\d.]+( us|%)$", ran.stdout, re.MULTILINE)) == 7, ran.stdout
