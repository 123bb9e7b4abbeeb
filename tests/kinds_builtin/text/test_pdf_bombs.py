"""PDF files whose drawings or pictures fill the memory, or take hours to draw."""

import base64
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from app.jobs import JobCancelled
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text import pdfs
from tests.kinds_builtin.text.documents import FOX, lines_of, nothing, refusal
from worker.kinds.text.pdf import PdfSource

pytestmark = pytest.mark.usefixtures("no_network")

BOMB = b"0 0 1 1 re f " * 1_300_000


DEFLATED = zlib.compress(BOMB, 9)
TWICE = zlib.compress(DEFLATED, 9)
FLATE = b"/Filter /FlateDecode "


def lzw_bomb(size: int) -> bytes:
    """A run of blanks in LZW: each code stands for one blank more than the last."""
    codes, made = [256, 32], 1
    for code in range(258, 4095):
        codes.append(code)
        made += code - 256
    bits = bytearray()
    buffer = count = 0
    known, width = 258, 9
    block = codes
    for _ in range(size // made + 1):
        known, width = 258, 9
        for index, code in enumerate(block):
            buffer, count = buffer << width | code, count + width
            while count >= 8:
                count -= 8
                bits.append(buffer >> count & 255)
                buffer &= (1 << count) - 1
            known += index > 1
            if known + 1 >= 1 << width and width < 12:
                width += 1
        if width < 12:
            raise AssertionError(width)
    return bytes(bits) + b"\0"


RUNS = b"\x81 " * (len(BOMB) // 128 + 10_000) + b"\x80"


@pytest.mark.parametrize(
    "drawing",
    [
        pdfs.deflated(BOMB),
        pdfs.stream(TWICE, b"/Filter [/FlateDecode /FlateDecode] "),
        pdfs.stream(DEFLATED, b"/Filter 6 0 R "),
        pdfs.stream(TWICE, b"/Filter 7 0 R "),
        pdfs.stream(DEFLATED, b"/Filter /Fl#61teDecode "),
        pdfs.stream(DEFLATED, FLATE + b"/Subtype /Image /Width 9 /Height 9 "),
        pdfs.stream(DEFLATED, FLATE + b"/Length1 5 "),
        pdfs.stream(DEFLATED, FLATE + b"/Type /EmbeddedFile "),
        pdfs.stream(DEFLATED, FLATE + b" " * 5000),
        pdfs.stream(DEFLATED, FLATE).replace(b">>\nstream", b">> % a note\n  stream  "),
        pdfs.stream(DEFLATED, FLATE + b"% 9 0 obj\n"),
        pdfs.stream(base64.a85encode(DEFLATED) + b"~>", b"/Filter [/ASCII85Decode /FlateDecode] "),
        pdfs.stream(DEFLATED.hex().encode() + b">", b"/Filter [/AHx /Fl] "),
        pdfs.stream(zlib.compress(RUNS), b"/Filter [/FlateDecode /RunLengthDecode] "),
        pdfs.stream(lzw_bomb(len(BOMB)), b"/Filter /LZWDecode "),
        pdfs.stream(b"\x78\x01\x00\x0b\x00\xf4\xff%endstream\n" + DEFLATED[2:], FLATE),
    ],
    ids=[
        "deflate", "deflate twice", "a filter named elsewhere", "a list of filters elsewhere",
        "an escaped name", "said to be a picture", "said to be a font", "said to be an attachment",
        "blanks", "a comment before the stream", "an object in a comment", "ASCII85", "hex",
        "run length", "LZW", "the end of the stream inside",
    ],
)  # fmt: skip
def test_a_drawing_that_inflates_beyond_the_limit_is_refused(
    job: FolderContext, tmp_path: Path, drawing: bytes
) -> None:
    lists = {6: b"/FlateDecode", 7: b"[/FlateDecode /FlateDecode]"}
    path = pdfs.write(tmp_path / "bomb.pdf", pdfs.one_page(drawing) | lists)
    assert path.stat().st_size < 200_000
    assert refusal(job, path).code == "pdf-page-too-large"


WORDS = pdfs.text(pdfs.FOX)


@pytest.mark.parametrize("write", [pdfs.write, pdfs.write_compressed])
@pytest.mark.parametrize(
    "drawing",
    [
        pdfs.stream(WORDS),
        pdfs.deflated(WORDS),
        pdfs.stream(zlib.compress(WORDS), b"/Filter 6 0 R "),
        pdfs.stream(base64.a85encode(zlib.compress(WORDS)) + b"~>", b"/Filter [/A85 /Fl] "),
        pdfs.stream(bytes([len(WORDS) - 1]) + WORDS + b"\x80", b"/Filter /RunLengthDecode "),
    ],
    ids=["plain", "deflate", "a filter named elsewhere", "ASCII85", "run length"],
)
def test_a_drawing_of_common_size_is_read_whatever_its_filters(
    tmp_path: Path, drawing: bytes, write: Callable[[Path, pdfs.Objects], Path]
) -> None:
    objects = pdfs.one_page(drawing) | {6: b"/FlateDecode"}
    assert lines_of(write(tmp_path / "good.pdf", objects)) == [FOX]


@pytest.mark.parametrize("contents", [b"4 0 R", b"[4 0 R]"])
def test_a_drawing_that_is_named_in_an_object_stream_is_measured(
    job: FolderContext, tmp_path: Path, contents: bytes
) -> None:
    lie = pdfs.stream(DEFLATED, FLATE + b"/Subtype /Image /Width 9 /Height 9 ")
    objects = pdfs.one_page(lie)
    objects[3] = objects[3].replace(b"/Contents 4 0 R", b"/Contents " + contents)
    path = pdfs.write_compressed(tmp_path / "bomb.pdf", objects)
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

pdf.PATIENCE, pdf.MAX_GROWTH = float(sys.argv[3]), int(sys.argv[4])
job = FolderContext(Path(sys.argv[2]))
spec = TextExtract.model_validate({"source": job.give(Path(sys.argv[1]))})
try:
    extract(spec, job)
except JobError as error:
    print(error.code, error.detail, flush=True)
# As a worker's child ends: without clearing up what the thread still uses.
os._exit(0)
"""


def refusal_apart(path: Path, *, patience: float = 60, growth: int = 500_000_000) -> str:
    """The error of a process of its own: the thread that draws runs on."""
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, path, path.parent, str(patience), str(growth)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    # A quick machine would reach the limit of memory before the limit of time.
    said = refusal_apart(path, patience=2, growth=10**12)
    assert said.startswith("pdf-page-too-slow Page 1 of the PDF file takes more than 2 s")


def picture(side: int, entries: bytes = b"") -> bytes:
    return pdfs.deflated(
        bytes(side * side),
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent 8 "
        b"/ColorSpace /DeviceGray %s" % (side, side, entries),
    )


def with_mask(side: int, key: bytes) -> pdfs.Objects:
    objects = pdfs.one_page(b"q 612 0 0 792 0 0 cm /I Do Q")
    return pdfs.with_picture(objects, picture(10, key + b" 7 0 R ")) | {7: picture(side)}


def in_pattern(side: int) -> pdfs.Objects:
    objects = pdfs.one_page(b"/Pattern cs /P scn 0 0 612 792 re f")
    tile = pdfs.stream(
        b"q 612 0 0 792 0 0 cm /I Do Q",
        b"/Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 612 792] "
        b"/XStep 612 /YStep 792 /Resources << /XObject << /I 6 0 R >> >> ",
    )
    resources = objects[3].replace(b"/Font <<", b"/Pattern << /P 7 0 R >> /Font <<")
    masked = picture(10, b"/SMask 8 0 R ")
    return objects | {3: resources, 6: masked, 7: tile, 8: picture(side)}


def in_glyph(side: int) -> pdfs.Objects:
    font = (
        b"<< /Type /Font /Subtype /Type3 /FontBBox [0 0 1 1] /FontMatrix [1 0 0 1 0 0] "
        b"/FirstChar 97 /LastChar 97 /Widths [1] /CharProcs << /a 7 0 R >> "
        b"/Encoding << /Type /Encoding /Differences [97 /a] >> "
        b"/Resources << /XObject << /I 6 0 R >> >> >>"
    )
    objects = pdfs.one_page(pdfs.text(b"a", b"1 0 0 1 50 50", 500))
    glyph = pdfs.stream(b"1 0 d0 /I Do")
    return objects | {5: font, 6: picture(10, b"/SMask 8 0 R "), 7: glyph, 8: picture(side)}


@pytest.mark.parametrize("key", [b"/SMask", b"/Mask"])
def test_a_large_mask_of_a_small_picture_is_refused(
    job: FolderContext, tmp_path: Path, key: bytes
) -> None:
    objects = with_mask(10, key)
    objects[7] = objects[7].replace(b"Width 10 /Height 10", b"Width 30000 /Height 30000")
    error = refusal(job, pdfs.write(tmp_path / "mask.pdf", objects))
    assert error.code == "pdf-page-too-large"
    assert "30000 x 30000" in error.detail


HIDDEN = b"/Filter [/FlateDecode /FlateDecode]" + b" " * 300_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "objects",
    [
        with_mask(16_000, b"/SMask"),
        in_pattern(16_000),
        in_glyph(16_000),
        pdfs.one_page(pdfs.stream(zlib.compress(zlib.compress(BOMB * 8, 9)), HIDDEN)),
    ],
    ids=["mask", "mask in a pattern", "mask in a font", "drawing behind a long dictionary"],
)  # fmt: skip
def test_a_page_that_takes_too_much_memory_fails_the_job(
    tmp_path: Path, objects: pdfs.Objects
) -> None:
    path = pdfs.write(tmp_path / "large.pdf", objects)
    assert path.stat().st_size < 1_000_000
    said = refusal_apart(path, growth=100_000_000)
    assert said.startswith("pdf-page-too-large Page 1 of the PDF file takes more than 100,000,000")
