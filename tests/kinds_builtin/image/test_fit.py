"""Sizes and parts: contain, cover, fill and pad, with and without enlarging."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat
from pydantic import ValidationError

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


@pytest.fixture
def bands(tmp_path: Path) -> Path:
    """200 x 50: ten upright bands of 20 pixels, from black to 216 of 255."""
    image = Image.new("L", (200, 50))
    for index in range(10):
        image.paste(24 * index, (20 * index, 0, 20 * index + 20, 50))
    path = tmp_path / "bands.png"
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        # The picture has 120 x 80 pixels.
        ({"width": 200, "height": 200}, (120, 80)),
        ({"width": 200, "height": 200, "enlarge": True}, (200, 133)),
        ({"width": 200, "height": 200, "fit": "cover"}, (200, 200)),
        ({"width": 200, "height": 200, "fit": "cover", "enlarge": True}, (200, 200)),
        ({"width": 200, "height": 200, "fit": "cover", "enlarge": False}, (120, 80)),
        ({"width": 60, "height": 200, "fit": "cover", "enlarge": False}, (60, 80)),
        ({"width": 200, "height": 200, "fit": "cover", "focus": "attention"}, (200, 200)),
        ({"width": 200, "height": 200, "fit": "cover", "focus": {"x": 1, "y": 1}}, (200, 200)),
        ({"width": 200, "height": 20, "fit": "cover", "focus": "entropy"}, (200, 20)),
        ({"width": 200, "height": 200, "fit": "fill"}, (200, 200)),
        ({"width": 200, "height": 20, "fit": "fill", "enlarge": False}, (120, 20)),
        ({"width": 200, "height": 200, "fit": "pad"}, (200, 200)),
        ({"width": 60, "height": 200, "fit": "pad"}, (60, 200)),
        ({"width": 60, "height": 200, "fit": "pad", "rotate": 90}, (60, 200)),
        ({"width": 61, "height": 37, "fit": "cover"}, (61, 37)),
        ({"width": 1, "height": 1, "fit": "cover"}, (1, 1)),
        (
            {
                "width": 200,
                "height": 100,
                "fit": "cover",
                "rotate": 270,
                "crop": {"left": 5, "top": 5, "width": 30, "height": 20},
            },
            (200, 100),
        ),
    ],
)
def test_size_is_the_one_asked_for(
    render: Transform,
    job: FolderContext,
    quarters: Path,
    wish: dict[str, Any],
    size: tuple[int, int],
) -> None:
    assert opened(job, render(quarters, wish)).size == size


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (640, 427)),
        ({"height": 100}, (150, 100)),
        ({"width": 100, "height": 100}, (100, 67)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 100, "height": 80, "fit": "cover", "focus": "attention"}, (100, 80)),
        ({"width": 100, "height": 100, "fit": "fill"}, (100, 100)),
        ({"width": 100, "rotate": 90}, (100, 150)),
        ({"width": 100, "height": 40, "fit": "cover", "rotate": 270}, (100, 40)),
        ({"width": 2000}, (640, 427)),
        ({"width": 1280, "enlarge": True}, (1280, 854)),
        ({"crop": {"left": 40, "top": 27, "width": 600, "height": 400}}, (600, 400)),
        ({"crop": {"left": 0, "top": 0, "width": 300, "height": 200}, "width": 150}, (150, 100)),
    ],
)
def test_size_is_the_one_asked_for_where_the_decoder_reduces(
    render: Transform,
    job: FolderContext,
    pictures: Path,
    options: dict[str, Any],
    size: tuple[int, int],
) -> None:
    assert opened(job, render(pictures / "rocket.jpg", options)).size == size


@pytest.mark.parametrize("kind", ["jpeg", "webp", "tiff", "gif"])
@pytest.mark.parametrize("size", [(33, 47), (131, 70), (300, 301)])
def test_cover_has_the_exact_size_for_every_source(
    render: Transform, job: FolderContext, tmp_path: Path, kind: str, size: tuple[int, int]
) -> None:
    """Also where the decoder reduces the picture by a whole number first."""
    path = tmp_path / "source"
    Image.effect_noise((257, 129), 80).convert("RGB").save(path, kind)
    for focus in ("centre", "attention", {"x": 0.3, "y": 0.9}):
        wish = {"width": size[0], "height": size[1], "fit": "cover", "focus": focus}
        assert opened(job, render(path, wish), -1).size == size


@pytest.mark.parametrize(
    ("x", "first_band"), [(0, 0), (0.1, 0), (0.5, 4), (0.55, 4), (0.7, 6), (1, 8)]
)
def test_cover_keeps_the_surroundings_of_the_focal_point(
    render: Transform, job: FolderContext, bands: Path, x: float, first_band: int
) -> None:
    """The two of ten bands that lie about the point are kept."""
    wish = {"width": 40, "height": 50, "fit": "cover", "focus": {"x": x, "y": 0.5}}
    image = opened(job, render(bands, wish)).convert("L")
    expected = [24 * first_band, 24 * first_band + 24]
    if x == 0.55:  # in the middle of a band: half a band on each side of it
        assert image.getpixel((20, 25)) == 24 * 5
    else:
        assert [image.getpixel((10, 25)), image.getpixel((30, 25))] == expected


def test_focal_point_is_relative_to_the_crop(
    render: Transform, job: FolderContext, bands: Path
) -> None:
    crop = {"left": 100, "top": 0, "width": 100, "height": 50}
    focus = {"x": 0, "y": 0}
    wish = {"width": 20, "height": 50, "fit": "cover", "crop": crop, "focus": focus}
    assert opened(job, render(bands, wish)).convert("L").getpixel((10, 25)) == 24 * 5


@pytest.mark.parametrize("focus", ["attention", "entropy"])
def test_smart_crop_finds_the_only_thing_in_the_picture(
    render: Transform, job: FolderContext, tmp_path: Path, focus: str
) -> None:
    image = Image.new("RGB", (400, 100), (128, 128, 128))
    thing = Image.effect_noise((60, 60), 100).convert("L")
    image.paste(Image.merge("RGB", (thing, Image.new("L", (60, 60), 30), thing)), (320, 20))
    path = tmp_path / "thing.png"
    image.save(path)
    wish = {"width": 100, "height": 100, "fit": "cover", "focus": focus}
    found = opened(job, render(path, wish)).convert("RGB")
    green = found.getchannel("G")
    assert sum(value < 60 for value in green.tobytes()) > 3000  # of the thing's 3,600 pixels


def test_pad_lays_the_whole_picture_on_its_background(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    wish = {"width": 160, "height": 160, "fit": "pad", "background": "#102030"}
    image = opened(job, render(quarters, wish)).convert("RGB")
    assert_corners(image, *[(16, 32, 48)] * 4)
    inner = image.crop((20, 40, 140, 120))  # not enlarged
    with Image.open(quarters) as source:
        assert inner.tobytes() == source.tobytes()

    grown = opened(job, render(quarters, wish | {"enlarge": True})).convert("RGB")
    assert close(grown.getpixel((80, 10)), (16, 32, 48))
    assert close(grown.getpixel((3, 30)), RED)
    assert close(grown.getpixel((156, 130)), WHITE)


@pytest.mark.parametrize("kind", ["png", "webp", "avif", "gif"])
def test_background_of_pad_may_be_transparent(
    render: Transform, job: FolderContext, quarters: Path, kind: str
) -> None:
    wish = {
        "format": kind,
        "width": 120,
        "height": 120,
        "fit": "pad",
        "background": "#00000000",
    }
    image = opened(job, render(quarters, wish))
    assert rgba_at(image, (60, 5))[3] == 0
    assert rgba_at(image, (10, 40))[3] == 255


def test_pad_of_a_jpeg_has_the_colour_of_its_background(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    wish = {
        "format": "jpeg",
        "width": 120,
        "height": 120,
        "fit": "pad",
        "background": "#20904080",
    }
    assert close(opened(job, render(quarters, wish)).getpixel((60, 5)), (0x20, 0x90, 0x40))


def test_pad_is_turned_with_the_picture(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    """Asked for upright after the rotation, the bars lie left and right of it."""
    wish = {"width": 160, "height": 120, "fit": "pad", "rotate": 90, "background": "#000000"}
    image = opened(job, render(quarters, wish)).convert("RGB")
    assert close(image.getpixel((20, 60)), (0, 0, 0))
    inner = image.crop((40, 0, 120, 120))
    assert_corners(inner, BLUE, RED, WHITE, GREEN)


def test_thin_picture_that_would_grow_beyond_the_limits_is_refused(
    render: Transform, tmp_path: Path
) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", (1, 10_000)).save(path)
    for focus in ("centre", "attention", {"x": 0, "y": 0}):
        wish = {"width": 2000, "height": 2000, "fit": "cover", "focus": focus}
        assert refused(render, path, wish).code == "rendition-too-large"


@pytest.mark.parametrize(
    "wish",
    [
        {"fit": "pad", "width": 10},
        {"focus": {"x": 0.5, "y": 0.5}},
        {"fit": "cover", "width": 9, "height": 9, "focus": {"x": 1.1, "y": 0}},
        {"fit": "cover", "width": 9, "height": 9, "focus": {"x": 1}},
        {"fit": "cover", "width": 9, "height": 9, "focus": "left"},
        {"background": "#1234567"},
    ],
)
def test_inconsistent_fit_is_refused(
    render: Transform, quarters: Path, wish: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        render(quarters, wish)


@pytest.mark.parametrize("size", [(200, 10), (141, 90), (280, 45), (10, 200), (70, 180), (139, 91)])
@pytest.mark.parametrize("rotate", [0, 90])
@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA"])
def test_fill_that_enlarges_one_side_keeps_the_picture_in_its_place(
    render: Transform,
    job: FolderContext,
    tmp_path: Path,
    size: tuple[int, int],
    rotate: int,
    mode: str,
) -> None:
    """Gradients in both directions, since a shift along either shows."""
    width, height = size if rotate == 0 else size[::-1]
    for direction in (Image.Transpose.ROTATE_90, None):
        picture = Image.linear_gradient("L")
        if direction is not None:
            picture = picture.transpose(direction)
        picture = picture.resize((140, 90), Image.Resampling.BICUBIC).convert(mode)
        if "A" in mode:
            picture.putalpha(picture.getchannel(0).point(lambda value: 255 - value))
        picture.save(tmp_path / "gradient.png")
        spec = {"width": width, "height": height, "fit": "fill", "rotate": rotate, "format": "png"}
        found = opened(job, render(tmp_path / "gradient.png", spec)).convert("RGBA")
        if rotate:
            found = found.transpose(Image.Transpose.ROTATE_90)
        wanted = picture.resize(size, Image.Resampling.BICUBIC).convert("RGBA")
        middle = (2, 2, size[0] - 2, size[1] - 2)
        difference = ImageChops.difference(found.crop(middle), wanted.crop(middle))
        assert max(ImageStat.Stat(difference).mean) < 2
