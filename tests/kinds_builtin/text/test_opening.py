"""Opening pictures for text: formats, transparency, damage and missing pages."""

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import CASES, read
from worker.kinds.text.pdf import is_pdf


def test_file_that_is_not_a_picture_is_refused(job: FolderContext, tmp_path: Path) -> None:
    for name, content, code in (
        ("words.png", b"no picture at all", "image-unsupported"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image-unsupported"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JobError) as caught:
            read(job, tmp_path / name)
        assert caught.value.code == code
        assert "PDF, JPEG" in caught.value.detail


def test_picture_that_is_cut_short_is_refused(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    whole = (pictures / "rocket.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "half.jpg")
    assert caught.value.code == "image-broken"


def test_picture_of_a_few_pixels_is_refused(job: FolderContext, tmp_path: Path) -> None:
    Image.new("L", (400, 4)).save(tmp_path / "speck.png")
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "speck.png")
    assert caught.value.code == "image-too-small"


def test_tiff_file_with_lost_pixels_is_refused(job: FolderContext) -> None:
    with pytest.raises(JobError) as caught:
        read(job, CASES / "tiff-tiled-deflate-cut.tiff")
    assert caught.value.code == "image-broken"


def test_page_that_a_picture_does_not_have_is_refused(job: FolderContext, tmp_path: Path) -> None:
    Image.new("L", (300, 200), 255).save(tmp_path / "one.png")
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "one.png", pages="2")
    assert caught.value.code == "page-not-found"


@pytest.mark.parametrize(
    ("ink", "grounds"), [((255, 255, 255), {0}), ((0, 0, 0), {255}), ((200, 30, 30), {255})]
)
def test_transparency_is_laid_on_a_ground_that_shows_the_text(
    ink: tuple[int, int, int], grounds: set[int]
) -> None:
    from worker.kinds.text.picture import background

    image = Image.new("RGBA", (200, 60), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((10, 10), "Some text", font=ImageFont.load_default(30), fill=ink)
    assert background(numpy.array(image)) in grounds
    # An opaque label in the other colour does not change what the rest needs.
    other = tuple(255 - part for part in ink)
    pixels = numpy.array(image)
    pixels[40:50, 150:160] = [*other, 255]
    assert background(pixels) in grounds | {128}


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "gif"])
def test_picture_whose_metadata_names_a_pdf_file_is_a_picture(tmp_path: Path, kind: str) -> None:
    said = "made from %PDF-1.4"
    exif = Image.Exif()
    exif[0x010E] = said
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", said)
    options: dict[str, dict[str, Any]] = {
        "png": {"pnginfo": notes},
        "gif": {"comment": said},
        "webp": {"exif": exif},
    }
    path = tmp_path / "picture"
    Image.new("L", (20, 20)).save(
        path, kind, **options.get(kind, {"exif": exif} if kind == "jpeg" else {"description": said})
    )
    assert said.encode() in path.read_bytes()[:1024]
    assert not is_pdf(path)


def test_pdf_header_behind_other_bytes_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "some.pdf"
    path.write_bytes(bytes(900) + b"%PDF-1.4")
    assert is_pdf(path)
