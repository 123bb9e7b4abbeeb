"""Blur, sharpening and watermarks, compared with Pillow's."""

import math
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from pydantic import ValidationError

from app.jobs import FileId, JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import CASES, Transform, close, opened, rgba_at

RED = (220, 20, 20, 255)


@pytest.fixture
def mark(job: FolderContext, tmp_path: Path) -> FileId:
    """20 x 10, red."""
    path = tmp_path / "mark.png"
    Image.new("RGBA", (20, 10), RED).save(path)
    return job.give(path)


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    Image.new("RGB", (200, 100), (100, 100, 100)).save(path)
    return path


def red_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    pixels = numpy.asarray(image.convert("RGB")).astype(int)
    mask = (pixels[..., 0] > 180) & (pixels[..., 1] < 60)
    return Image.fromarray(mask).getbbox()


@pytest.mark.parametrize("sigma", [0.5, 2, 8, 20, 40])
def test_blur_is_gaussian(
    render: Transform, job: FolderContext, pictures: Path, sigma: float
) -> None:
    result = render(pictures / "coffee.png", {"width": 300, "blur": sigma}, {"width": 300})
    blurred, plain = (numpy.asarray(opened(job, result, index), float) for index in (0, 1))
    radius = math.ceil(4 * sigma)
    weights = numpy.exp(-(numpy.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    expected = numpy.pad(plain, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    for axis in (0, 1):
        windows = numpy.lib.stride_tricks.sliding_window_view(expected, len(weights), axis)
        expected = windows @ weights
    assert numpy.abs(blurred - expected).max() < 4


def test_blur_does_not_bleed_from_transparent_parts(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    """The transparent half is black underneath: the white half must stay white."""
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (30, 0, 60, 40))
    path = tmp_path / "half.png"
    image.save(path)
    red, _, _, alpha = rgba_at(opened(job, render(path, {"blur": 3})), (32, 20))
    assert 128 < alpha < 240
    assert red > 250


def test_wide_blur_of_a_large_picture_takes_little_time(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    image = Image.new("RGBA", (800, 600), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (400, 0, 800, 600))
    image.save(path, compress_level=1)
    started = time.process_time()
    result = render(path, {"format": "png", "blur": 100, "rotate": 90})
    assert time.process_time() - started < 1.5  # of the CPU
    blurred = opened(job, result)
    assert (blurred.size, blurred.mode) == ((600, 800), "RGBA")
    red, _, _, alpha = rgba_at(blurred, (300, 450))
    assert 128 < alpha < 240
    assert red > 250


def test_sharpening_makes_edges_steeper(
    render: Transform, job: FolderContext, pictures: Path
) -> None:
    result = render(pictures / "coffee.png", {"width": 300, "sharpen": 1}, {"width": 300})

    def steepness(index: int) -> float:
        pixels = numpy.asarray(opened(job, result, index).convert("L")).astype(float)
        return float(numpy.abs(numpy.diff(pixels, axis=1)).mean())

    assert steepness(0) > 1.1 * steepness(1)
    plain, sharp = (opened(job, result, index).convert("L") for index in (1, 0))
    assert abs(numpy.asarray(plain).mean() - numpy.asarray(sharp).mean()) < 1


def test_sharpening_keeps_transparency(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = tmp_path / "clear.png"
    image = Image.effect_noise((64, 64), 60).convert("RGB").convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((64, 64)))
    image.save(path)
    sharp = opened(job, render(path, {"sharpen": 1}))
    assert sharp.mode == "RGBA"
    assert sharp.getchannel("A").tobytes() == image.getchannel("A").tobytes()


@pytest.mark.parametrize(
    ("options", "box"),
    [
        # A quarter of 200 x 100 is 50 x 25: the mark becomes 50 x 25.
        ({}, (150, 75, 200, 100)),
        ({"position": "top-left"}, (0, 0, 50, 25)),
        ({"position": "top", "margin": 5}, (75, 5, 125, 30)),
        ({"position": "bottom-left", "margin": 7}, (7, 68, 57, 93)),
        ({"position": "right", "margin": 10, "scale": 0.1}, (170, 45, 190, 55)),
        ({"position": "left", "scale": 0.1}, (0, 45, 20, 55)),
        ({"position": "centre", "scale": 1}, (0, 0, 200, 100)),
        ({"position": "bottom-right", "margin": 5000}, (0, 0, 50, 25)),
        ({"position": "tile"}, (0, 0, 200, 100)),
    ],
)
def test_watermark_lies_at_its_position(
    render: Transform,
    job: FolderContext,
    grey: Path,
    mark: FileId,
    options: dict[str, Any],
    box: tuple[int, int, int, int],
) -> None:
    image = opened(job, render(grey, {"watermark": {"file": mark, **options}}))
    assert image.mode == "RGB"
    assert red_box(image) == box


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "avif", "gif"])
def test_watermark_mixes_by_its_opacity(
    render: Transform, job: FolderContext, grey: Path, mark: FileId, kind: str
) -> None:
    watermark = {"file": mark, "opacity": 0.5, "scale": 1}
    image = opened(job, render(grey, {"format": kind, "watermark": watermark})).convert("RGB")
    assert close(image.getpixel((100, 50)), (160, 60, 60))


def test_watermarks_own_transparency_counts(
    render: Transform, job: FolderContext, grey: Path, tmp_path: Path
) -> None:
    path = tmp_path / "ring.png"
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 20, 20))
    image.save(path)
    watermark = {"file": job.give(path), "scale": 1}
    made = opened(job, render(grey, {"watermark": watermark})).convert("RGB")
    assert close(made.getpixel((40, 50)), (0, 0, 255))
    assert close(made.getpixel((160, 50)), (100, 100, 100))


def test_tiles_have_the_margin_between_them(
    render: Transform, job: FolderContext, grey: Path, mark: FileId
) -> None:
    watermark = {"file": mark, "position": "tile", "scale": 0.1, "margin": 10}
    image = opened(job, render(grey, {"watermark": watermark})).convert("RGB")
    row = [image.getpixel((x, 5)) for x in range(0, 200, 5)]
    assert [close(pixel, RED[:3]) for pixel in row[:12]] == ([True] * 4 + [False] * 2) * 2


def test_watermark_is_laid_on_upright_after_the_rotation(
    render: Transform, job: FolderContext, grey: Path, mark: FileId
) -> None:
    watermark = {"file": mark, "position": "top-left"}
    image = opened(job, render(grey, {"rotate": 90, "watermark": watermark}))
    assert image.size == (100, 200)
    assert red_box(image) == (0, 0, 25, 12) or red_box(image) == (0, 0, 25, 13)


def test_watermark_is_not_on_the_other_renditions(
    render: Transform, job: FolderContext, grey: Path, mark: FileId
) -> None:
    result = render(grey, {"watermark": {"file": mark}}, {})
    assert red_box(opened(job, result, 0))
    assert not red_box(opened(job, result, 1))


@pytest.mark.parametrize(
    ("name", "code"),
    [("webp-cut.webp", "image-broken"), ("tiff-tiled-deflate-cut.tiff", "image-broken")],
)
def test_error_about_a_watermark_says_so(
    render: Transform, job: FolderContext, grey: Path, name: str, code: str
) -> None:
    watermark = {"file": job.give(CASES / name)}
    with pytest.raises(JobError, match="Watermark") as caught:
        render(grey, {"watermark": watermark})
    assert caught.value.code == code
    assert name not in caught.value.detail


def test_damage_of_the_source_is_found_under_a_watermark(
    render: Transform, job: FolderContext, mark: FileId
) -> None:
    """Also where the whole source is decoded before the watermark is opened."""
    path = CASES / "tiff-tiled-deflate-cut.tiff"
    watermark = {"file": mark}
    for wish in ({}, {"rotate": 90}, {"fit": "cover", "focus": "attention"}):
        with pytest.raises(JobError) as caught:
            render(path, {"width": 50, "height": 50, "watermark": watermark, **wish})
        assert caught.value.code == "image-broken"
        assert "Watermark" not in caught.value.detail


@pytest.mark.parametrize(
    "wish",
    [
        {"blur": 0},
        {"blur": 1000},
        {"sharpen": -1},
        {"watermark": {"position": "top"}},
        {"watermark": {"file": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "opacity": 0}},
        {"watermark": {"file": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "scale": 2}},
        {"watermark": {"file": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "position": "middle"}},
    ],
)
def test_effect_out_of_range_is_refused(render: Transform, grey: Path, wish: Any) -> None:
    with pytest.raises(ValidationError):
        render(grey, wish)
