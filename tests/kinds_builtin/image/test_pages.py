"""Pages of TIFF files."""

import struct
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile
from PIL import Image
from pydantic import ValidationError

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import (
    COLOURS,
    Transform,
    close,
    opened,
)
from worker.kinds.text.picture import PictureSource


def test_all_pages_are_rendered_each_to_a_file(
    render: Transform, job: FolderContext, document: Path
) -> None:
    result = render(
        document, {"name": "small", "width": 20}, {"name": "web", "format": "jpeg"}, pages="all"
    )
    assert result.source.pages == 4
    assert [(made.name, made.page) for made in result.renditions] == [
        (name, page) for page in range(1, 5) for name in ("small", "web")
    ]
    assert [name for _, name, _ in job.outputs.values()][:4] == [
        "small-1.png",
        "web-1.jpg",
        "small-2.png",
        "web-2.jpg",
    ]
    for index, made in enumerate(result.renditions):
        image = opened(job, result, index).convert("RGB")
        assert close(image.getpixel((5, 5)), COLOURS[made.page - 1])
        if made.name == "web":
            assert image.size == (30 + 10 * made.page, 30)
    job.assert_monotone()


def test_some_pages_are_rendered_in_the_order_asked_for(
    render: Transform, job: FolderContext, document: Path
) -> None:
    result = render(document, {}, pages=[3, 1])
    assert [made.page for made in result.renditions] == [3, 1]
    assert [opened(job, result, index).size[0] for index in range(2)] == [60, 40]


def test_first_page_is_the_default_and_keeps_its_name(
    render: Transform, job: FolderContext, document: Path
) -> None:
    result = render(document, {"name": "scan"})
    assert [name for _, name, _ in job.outputs.values()] == ["scan.png"]
    assert result.source.pages == 4


def second_page_damaged(path: Path) -> Path:
    """A TIFF file of three pages, of which the second can't be decoded."""
    pages = [Image.effect_noise((64, 64), 60) for _ in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        second = file.pages[1]
        start, size = second.dataoffsets[0], second.databytecounts[0]
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    return path


def test_damaged_page_is_named(render: Transform, tmp_path: Path) -> None:
    path = second_page_damaged(tmp_path / "pages.tif")
    with pytest.raises(JobError, match=r"^Page 2: .* `pages`") as caught:
        render(path, {}, pages="all")
    assert caught.value.code == "image-broken"
    result = render(path, {}, pages="all", tolerate_damage=True)
    assert [made.damaged for made in result.renditions] == [False, True, False]
    assert result.source.damaged


def test_damaged_page_is_named_where_its_text_is_read(tmp_path: Path) -> None:
    source = PictureSource(second_page_damaged(tmp_path / "pages.tif"), threads=1)
    with pytest.raises(JobError, match=r"^Page 2: .* `pages`"):
        source.page(2).pixels(600, lambda: None)


def test_page_of_another_kind_is_named(render: Transform, tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    page = numpy.zeros((20, 30), "u1")
    with tifffile.TiffWriter(path) as file:
        file.write(page, photometric="minisblack")
        file.write(page.astype("f4"), photometric="minisblack")
    with pytest.raises(JobError, match=r"^Page 2: .*floating-point") as caught:
        render(path, {}, pages=[2])
    assert caught.value.code == "image-unsupported"


@pytest.mark.parametrize(("pages", "code"), [([5], "page-missing"), ([1, 100_000], "page-missing")])
def test_page_that_is_missing_is_an_error(
    render: Transform, document: Path, pages: list[int], code: str
) -> None:
    with pytest.raises(JobError, match="1 to 4") as caught:
        render(document, {}, pages=pages)
    assert caught.value.code == code


def test_crop_outside_of_one_page_is_an_error_before_any_is_rendered(
    render: Transform, job: FolderContext, document: Path
) -> None:
    crop = {"left": 0, "top": 0, "width": 60, "height": 30}
    with pytest.raises(JobError, match="40 x 30") as caught:
        render(document, {"crop": crop}, pages="all")
    assert caught.value.code == "crop-outside"
    assert not job.outputs


def tiny_tiff(pages: int) -> bytes:
    """A TIFF file of 1 x 1 pixels a page, all pages with the same pixel."""
    tags = [(256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 1)])
    size = 2 + len(entries) + 4
    start = 16
    data = bytearray(b"II*\0" + struct.pack("<I", start) + b"\x80".ljust(8, b"\0"))
    for number in range(pages):
        after = start + size * (number + 1) if number + 1 < pages else 0
        data += struct.pack("<H", len(tags) + 1) + entries + struct.pack("<I", after)
    return bytes(data)


def test_too_many_pages_are_an_error_with_a_remedy(render: Transform, tmp_path: Path) -> None:
    path = tmp_path / "thick.tif"
    path.write_bytes(tiny_tiff(101))
    with pytest.raises(JobError, match="101 pages") as caught:
        render(path, {}, pages="all")
    assert caught.value.code == "too-many-pages"
    assert [made.page for made in render(path, {}, pages=[101]).renditions] == [101]


def test_tiff_of_100_000_pages_is_refused_by_its_header(render: Transform, tmp_path: Path) -> None:
    path = tmp_path / "thick.tif"
    path.write_bytes(tiny_tiff(100_000))
    started = time.process_time()
    with pytest.raises(JobError, match="10,000 pages") as caught:
        render(path, {})
    assert caught.value.code == "image-too-large"
    assert time.process_time() - started < 2  # of the CPU; libtiff took 6


def test_tiff_whose_pages_form_a_ring_has_each_page_once(render: Transform, tmp_path: Path) -> None:
    data = bytearray(tiny_tiff(3))
    data[-4:] = data[4:8]
    path = tmp_path / "ring.tif"
    path.write_bytes(data)
    assert len(render(path, {}, pages="all").renditions) == 3


@pytest.mark.parametrize(
    ("rendition", "options"),
    [
        ({"format": "jpeg", "animated": True}, {}),
        ({"format": "png", "animated": True}, {}),
        ({"format": "webp", "animated": True}, {"pages": "all"}),
        ({}, {"pages": []}),
        ({}, {"pages": [0]}),
        ({}, {"pages": [2, 2]}),
        ({}, {"pages": list(range(1, 102))}),
        ({}, {"pages": "last"}),
    ],
)
def test_invalid_pages_are_refused(
    render: Transform, quarters: Path, rendition: Any, options: Any
) -> None:
    with pytest.raises(ValidationError):
        render(quarters, rendition, **options)


@pytest.mark.parametrize("wish", [{}, {"width": 100}, {"width": 40}, {"width": 30}])
def test_smaller_copies_inside_a_tiff_are_not_taken_for_the_picture(
    render: Transform, job: FolderContext, tmp_path: Path, wish: dict[str, int]
) -> None:
    """A pyramid: copies of half and a quarter of the size in sub-directories of the page."""
    from worker.kinds.pictures import vips

    path = tmp_path / "pyramid.tif"
    noise = Image.effect_noise((100, 60), 90)
    source = vips(1).Image.new_from_memory(noise.tobytes(), 100, 60, 1, "uchar")
    source.write_to_file(
        str(path), tile=True, tile_width=16, tile_height=16, pyramid=True, subifd=True
    )
    image = opened(job, render(path, wish))
    assert image.width == wish.get("width", 100)
    if image.width == 100:
        assert image.convert("L").tobytes() == noise.tobytes()
