"""The demo as a newcomer runs it: what it shows, how it fails, and that nothing is left of it."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from demo import __main__ as program
from demo import inputs
from demo.inputs import Input
from tests.servers import scratch_folder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def short() -> Iterator[Path]:
    with scratch_folder() as folder:
        yield folder


def start(folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Whatever was started with something in the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            seen = [*process.cmdline(), *process.environ().values()]
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if any(str(folder) in text for text in seen):
            found.append(" ".join(process.cmdline()))
    return found


def test_three_jobs_succeed_and_nothing_is_left(short: Path) -> None:
    with start(short) as demo:
        output, errors = demo.communicate()
    assert (demo.returncode, errors) == (0, "")
    assert output.count("100%  succeeded") == 3
    # Each kind's own work: read off the page, counted in the table, drawn from the photograph.
    assert "Let us first determine markers of the coins and the" in output
    assert "336,776: aggregate.csv" in output
    assert "4096 x 4096" in output
    assert processes_of(short) == []
    assert list(short.iterdir()) == []


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_nothing_is_left(short: Path, sig: signal.Signals) -> None:
    with start(short) as demo:
        assert demo.stdout is not None
        assert any("running" in line for line in demo.stdout)
        assert processes_of(short) != []
        demo.send_signal(sig)
        _, errors = demo.communicate()
    assert (demo.returncode, errors) == (130, "Interrupted; everything is stopped.\n")
    assert processes_of(short) == []
    assert list(short.iterdir()) == []


def test_a_job_that_fails_is_named_with_its_reason(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = inputs.photograph()
    broken = short / "broken.png"
    broken.write_bytes(whole.path.read_bytes()[:200_000])
    monkeypatch.setattr(inputs, "photograph", lambda: Input(broken, "half a photograph"))
    said, complained = io.StringIO(), io.StringIO()
    code = program.demonstrate(Console(file=said), Console(file=complained), short)
    assert code == 1
    assert "image.transform failed: image-broken" in complained.getvalue()
    assert processes_of(short) == []
