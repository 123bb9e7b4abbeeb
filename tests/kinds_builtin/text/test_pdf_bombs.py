"""PDF files whose drawings or pictures fill the memory, or take hours to draw."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from app.jobs import JobCancelled
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import nothing, refusal
from worker.kinds.text.pdf import PdfSource

pytestmark = pytest.mark.usefixtures("no_network")

BOMB = b"0 0 1 1 re f " * 1_300_000


@pytest.mark.parametrize(
    "drawing",
    [
        pdfs.deflated(BOMB),
        pdfs.stream(zlib.compress(zlib.compress(BOMB)), b"/Filter [/FlateDecode /FlateDecode] "),
        pdfs.stream(zlib.compress(BOMB), b"/Filter 6 0 R "),
    ],
    ids=["deflate", "deflate twice", "a filter that is named elsewhere"],
)
def test_a_drawing_that_inflates_beyond_the_limit_is_refused(
    job: FolderContext, tmp_path: Path, drawing: bytes
) -> None:
    objects = pdfs.one_page(drawing) | {6: b"/FlateDecode"}
    path = pdfs.write(tmp_path / "bomb.pdf", objects)
    assert path.stat().st_size < 100_000
    assert refusal(job, path).code == "pdf-page-too-large"


def test_a_large_picture_inside_a_page_is_refused(job: FolderContext, tmp_path: Path) -> None:
    entries = (
        b"/Type /XObject /Subtype /Image /Width 30000 /Height 30000 /BitsPerComponent 8 "
        b"/ColorSpace /DeviceRGB "
    )
    content = pdfs.one_page(b"q 612 0 0 792 0 0 cm /I Do Q")
    objects = pdfs.with_picture(content, pdfs.deflated(bytes(100_000), entries))
    error = refusal(job, pdfs.write(tmp_path / "large.pdf", objects))
    assert error.code == "pdf-page-too-large"
    assert "30000 x 30000" in error.detail


def test_drawing_a_page_stops_when_the_job_does(tmp_path: Path) -> None:
    """Some seconds of drawing, in many steps."""
    circle = b"300 400 m 900 900 -300 900 300 400 c " * 6
    drawing = pdfs.deflated((circle + b"f* ") * 5000)
    path = pdfs.write(tmp_path / "slow.pdf", pdfs.one_page(drawing))

    def cancel() -> None:
        raise JobCancelled

    source = PdfSource(path, nothing)
    page = source.page(1, nothing)
    with pytest.raises(JobCancelled):
        page.pixels(3000, cancel)
    page.close()
    source.close()


HOSTILE = """
import os
import sys
from pathlib import Path
from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, extract, pdf

pdf.PATIENCE = 2.0
job = FolderContext(Path(sys.argv[2]))
spec = TextExtract.model_validate({"source": job.give(Path(sys.argv[1]))})
try:
    extract(spec, job)
except JobError as error:
    print(error.code, error.detail, flush=True)
# As a worker's child ends: without clearing up what the thread still uses.
os._exit(0)
"""


@pytest.mark.slow
def test_a_page_that_is_never_drawn_fails_the_job(tmp_path: Path) -> None:
    """A form that draws a form ten times, which draws another ten times, twelve levels deep."""
    depth = 12
    page = pdfs.one_page(b"/X Do")
    forms = {
        10 + level: pdfs.stream(
            b"/X Do " * 10,
            b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] "
            b"/Resources << /XObject << /X %d 0 R >> >> " % (11 + level),
        )
        for level in range(depth)
    }
    last = pdfs.stream(b"0 0 9 9 re f ", b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] ")
    resources = page[3].replace(b"/Font <<", b"/XObject << /X 10 0 R >> /Font <<")
    path = pdfs.write(tmp_path / "forms.pdf", page | {3: resources, 10 + depth: last} | forms)
    # In a process of its own: the thread that draws runs on.
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, path, tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pdf-page-too-slow Page 1 of the PDF file takes more than 2 s")
