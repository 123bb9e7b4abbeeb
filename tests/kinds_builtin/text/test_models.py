"""The models: no network, bounded memory, cancellation."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from PIL import Image

from app.jobs import JobCancelled
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import read


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_models_send_no_telemetry_and_download_nothing(home: Path) -> None:
    """In a process of its own: onnxruntime starts its telemetry when it is loaded, in C++."""
    code = (
        "import psutil\n"
        "from worker.kinds.text.recognise import _engine\n"
        "engine = _engine(1)\n"
        "import numpy\n"
        "engine.recognize_txt([numpy.full((48, 320, 3), 255, numpy.uint8)])\n"
        "print(psutil.Process().net_connections())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["[]"], done.stderr
    assert done.stderr == ""  # rapidocr logs nothing either
    # Its device id and its store of events, which are there as soon as telemetry is on.
    written = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert not [name for name in written if "onnxruntime" in name], written


def test_missing_models_are_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.kinds.text import recognise

    monkeypatch.setitem(recognise.MODELS, "Rec", "PP-OCRv9_rec_huge.onnx")
    recognise._engine.cache_clear()
    with pytest.raises(FileNotFoundError, match="never downloaded"):
        recognise._engine(1)
    recognise._engine.cache_clear()


@pytest.mark.slow
def test_narrow_strip_takes_bounded_memory(job: FolderContext, tmp_path: Path) -> None:
    """8 x 3000 pixels: the detector would make 736 x 276,000 of them."""
    Image.new("L", (8, 3000), 255).save(tmp_path / "strip.png")
    before = psutil.Process().memory_info().rss
    assert read(job, tmp_path / "strip.png").lines == []
    assert psutil.Process().memory_info().rss - before < 1_500_000_000


@pytest.mark.slow
def test_job_is_cancelled_while_labels_across_the_page_are_read(
    job: FolderContext, picture_of: Callable[..., Path], tmp_path: Path
) -> None:
    page = Image.new("RGB", (1000, 1000), "white")
    with Image.open(picture_of(["Lines of the page itself", "and another"], name="a.png")) as lines:
        page.paste(lines, (0, 700))
    with Image.open(picture_of(["Label"], name="b.png", size=(200, 120))) as label:
        upright = label.rotate(90, expand=True)
    for left in range(0, 960, 120):
        page.paste(upright, (left, 100))
    page.save(tmp_path / "drawing.png")
    job.cancel_when = lambda fraction, message: "run across" in message
    with pytest.raises(JobCancelled):
        read(job, tmp_path / "drawing.png")


@pytest.mark.slow
def test_job_is_cancelled_between_batches_of_lines(job: FolderContext, pictures: Path) -> None:
    job.cancel_when = lambda fraction, message: message.startswith("reading lines 7")
    with pytest.raises(JobCancelled):
        read(job, pictures / "page.png")
    assert not job.outputs
