import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from app.jobs import JobCancelled, JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    Transform,
    assert_corners,
    close,
    opened,
    refused,
    rgba_at,
)


def test_every_format_is_written(render: Transform, job: FolderContext, pictures: Path) -> None:
    formats = ["jpeg", "png", "webp", "avif", "gif"]
    result = render(
        pictures / "rocket.jpg", *({"name": f, "format": f, "width": 200} for f in formats)
    )

    assert result.source.model_dump() == {
        "format": "jpeg",
        "width": 640,
        "height": 427,
        "pages": 1,
        "damaged": False,
    }
    for index, name in enumerate(formats):
        rendition = result.renditions[index]
        image = opened(job, result, index)
        assert image.format == name.upper()
        assert image.size == (200, 133)
        path, file_name, content_type = job.outputs[rendition.file]
        assert rendition.bytes == path.stat().st_size
        assert content_type == f"image/{name}"
        assert file_name == f"{name}.{'jpg' if name == 'jpeg' else name}"
    assert any(message == "rendition 3 of 5: webp, WebP" for _, message in job.told)
    job.assert_monotone()


def test_parts_and_rotations_show_the_right_corners(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    result = render(
        quarters,
        {},
        {"rotate": 90},
        {"rotate": 180},
        {"crop": {"left": 60, "top": 0, "width": 60, "height": 80}},
        {"crop": {"left": 60, "top": 0, "width": 60, "height": 80}, "rotate": 270},
        {"width": 80, "height": 80, "fit": "cover"},
    )
    assert_corners(opened(job, result, 0), RED, GREEN, BLUE, WHITE)
    assert_corners(opened(job, result, 1), BLUE, RED, WHITE, GREEN)
    assert_corners(opened(job, result, 2), WHITE, BLUE, GREEN, RED)
    assert_corners(opened(job, result, 3), GREEN, GREEN, WHITE, WHITE)
    assert_corners(opened(job, result, 4), GREEN, WHITE, GREEN, WHITE)
    assert_corners(opened(job, result, 5), RED, GREEN, BLUE, WHITE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(
    render: Transform, job: FolderContext, quarters: Path, tmp_path: Path, orientation: int
) -> None:
    """The file is stored rotated, with the orientation in its EXIF data."""
    # The change of the upright picture that the orientation undoes.
    undone_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    path = tmp_path / "turned.jpg"
    with Image.open(quarters) as image:
        turned = image.transpose(undone_by[orientation]) if orientation > 1 else image
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.save(path, exif=exif, quality=95)

    crop = {"left": 0, "top": 0, "width": 60, "height": 80}
    for metadata in ("strip", "keep"):
        result = render(path, {"format": "jpeg"}, {"crop": crop}, metadata=metadata)
        assert (result.source.width, result.source.height) == (120, 80)
        upright = opened(job, result, 0)
        assert_corners(upright, RED, GREEN, BLUE, WHITE)
        assert upright.getexif().get(0x0112, 1) == 1  # or viewers would turn it again
        assert_corners(opened(job, result, 1), RED, RED, BLUE, BLUE)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif"])
def test_metadata_is_stripped_unless_kept(
    render: Transform, job: FolderContext, quarters: Path, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "by.jpg"
    exif = Image.Exif()
    exif[0x013B] = "Ansel Adams"
    exif.get_ifd(0x8825)[1] = "N"
    with Image.open(quarters) as image:
        image.save(path, exif=exif)

    stripped = opened(job, render(path, {"format": kind}))
    assert dict(stripped.getexif()) == {}
    assert b"Ansel Adams" not in job.path(list(job.outputs)[-1]).read_bytes()

    kept = opened(job, render(path, {"format": kind}, metadata="keep"))
    assert kept.getexif()[0x013B] == "Ansel Adams"


def test_transparent_parts_get_the_background(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(path)
    result = render(path, {"format": "jpeg", "background": "#00ff00"}, {"format": "webp"})
    assert close(opened(job, result, 0).getpixel((32, 32)), (0, 255, 0))
    assert rgba_at(opened(job, result, 1), (32, 32))[3] == 0


def test_quality_changes_the_size_in_bytes(render: Transform, pictures: Path) -> None:
    for kind in ("jpeg", "webp", "avif"):
        low, high = render(
            pictures / "astronaut.png",
            {"format": kind, "quality": 10},
            {"format": kind, "quality": 95},
        ).renditions
        assert low.bytes * 3 < high.bytes, kind


@pytest.mark.parametrize("mode", ["CMYK", "L", "I;16", "1", "P"])
def test_every_kind_of_pixel_becomes_srgb(
    render: Transform, job: FolderContext, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "source.tif"
    Image.new(mode, (40, 30)).save(path)
    for kind in ("jpeg", "png", "webp", "avif"):
        assert opened(job, render(path, {"format": kind, "width": 20})).mode == "RGB"


@pytest.mark.parametrize("name", ["no_time_for_that_tiny.gif", "multipage.tif"])
def test_first_of_several_frames_is_rendered(render: Transform, pictures: Path, name: str) -> None:
    with Image.open(pictures / name) as image:
        size = image.size
    result = render(pictures / name, {})
    assert (result.renditions[0].width, result.renditions[0].height) == size


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("side", [60_000, 65_000])
def test_a_bomb_is_refused_by_its_header(render: Transform, tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000_000)))
        + chunk(b"IEND", b"")
    )
    started = time.process_time()
    error = refused(render, path)
    assert error.code == "image-too-large"
    assert f"{side} x {side}" in error.detail
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("name", ["rocket.jpg", "astronaut.png"])
def test_a_picture_cut_short_is_refused(
    render: Transform, pictures: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    whole = (pictures / name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(render, path).code == "image-broken"


SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5"/></svg>'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just words\n" * 50,
        SVG.encode(),
        b"%PDF-1.7\n1 0 obj\n",
        b"P6\n2 2\n255\n" + bytes(12),
    ],
    ids=["empty", "text", "svg", "pdf", "ppm"],
)
def test_file_that_is_not_a_picture_is_refused(
    render: Transform, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    assert refused(render, path).code == "image-unsupported"


def test_blocked_loaders_stay_blocked(pictures: Path, tmp_path: Path) -> None:
    """libvips opens its own format and CSV by their names alone; neither is a picture here."""
    from worker.kinds.pictures import read_header, vips

    library = vips(1)
    for suffix in (".v", ".csv"):
        path = tmp_path / f"picture{suffix}"
        library.Image.black(4, 4).write_to_file(str(path))
        with pytest.raises(JobError, match="not a picture"):
            read_header(library, path)


def test_a_crop_outside_the_picture_is_refused(render: Transform, pictures: Path) -> None:
    crop = {"left": 500, "top": 0, "width": 141, "height": 10}
    assert refused(render, pictures / "rocket.jpg", {"crop": crop}).code == "crop-outside"


def test_a_rendition_too_large_is_refused(render: Transform, pictures: Path) -> None:
    huge = {"width": 16_383, "height": 16_383, "enlarge": True}
    assert refused(render, pictures / "astronaut.png", huge).code == "rendition-too-large"


def test_full_disk_is_not_blamed_on_the_picture(
    render: Transform, pictures: Path, job: FolderContext
) -> None:
    import pyvips

    job.scratch = job.scratch / "gone"
    with pytest.raises(pyvips.Error):
        render(pictures / "rocket.jpg", {})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotate": 90},
        {"format": "jpeg"},
        {"format": "avif"},
        {"fit": "cover", "focus": "attention"},
    ],
)
def test_job_is_cancelled_within_a_rendition(
    render: Transform, job: FolderContext, pictures: Path, options: dict[str, Any]
) -> None:
    """A rendition of seconds ends within a moment of the cancellation."""
    looks = 0

    def at_the_third_look(fraction: float, message: str) -> bool:
        nonlocal looks
        looks += message.startswith("rendition")
        return looks == 2

    job.cancel_when = at_the_third_look
    started = time.process_time()
    with pytest.raises(JobCancelled):
        render(
            pictures / "logo.png", {"width": 12_000, "height": 12_000, "enlarge": True} | options
        )
    assert time.process_time() - started < 1.5
    assert not job.outputs


@pytest.mark.parametrize(
    "rendition",
    [
        {"format": "tiff"},
        {"fit": "cover", "width": 10},
        {"quality": 80},
        {"name": "../../etc"},
        {"width": 0},
        {"width": 20_000},
        {"rotate": 45},
        {"background": "red"},
        {"path": "/etc/passwd"},
    ],
)
def test_invalid_rendition_is_refused_before_it_is_queued(
    render: Transform, pictures: Path, rendition: Any
) -> None:
    with pytest.raises(ValidationError):
        render(pictures / "rocket.jpg", rendition)


def test_renditions_of_the_same_name_are_refused(render: Transform, pictures: Path) -> None:
    with pytest.raises(ValidationError, match="name of its own"):
        render(pictures / "rocket.jpg", {"name": "a"}, {"name": "a"})
