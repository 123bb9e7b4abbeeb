"""GIF files whose frames are smaller than their logical screen, compared with Pillow."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from app.jobs import JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import Transform, frames_of, opened, times_of
from worker.kinds.text.picture import PictureSource

SIZE = (50, 40)
PALETTE = bytes([0, 0, 0, 220, 20, 20, 20, 200, 20, 20, 20, 220])
CLEAR = 0  # the transparent index
NOTHING, KEPT, CLEARED = None, 1, 2  # ways to dispose of a frame
LARGE = [(1152, 864), (1024, 768), (1280, 1024), (1600, 1200)]
# libnsgif ignores all of these but 500 x 400 and 1152 x 864.
SCREENS = [
    (500, 400),
    (640, 480),
    (800, 600),
    (2049, 300),
    (90, 2500),
    *(pytest.param(size, marks=pytest.mark.slow) for size in LARGE),
]


def drawn(number: int) -> Image.Image:
    """A frame in one colour with a transparent corner."""
    frame = Image.new("P", SIZE, 1 + number % 3)
    frame.paste(CLEAR, (0, 0, 20, 10))
    frame.putpalette(PALETTE)
    return frame


def gif_of(
    path: Path,
    screen: tuple[int, int],
    places: list[tuple[int, int]],
    *,
    disposal: int | None = CLEARED,
) -> Path:
    """A GIF file with a frame at each place; a still picture has no `disposal`."""
    data = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x81, 0, 0) + PALETTE
    for number, place in enumerate(places):
        flags = 1 | (disposal or 0) << 2
        data += b"\x21\xf9\x04" + struct.pack("<BHBB", flags, 10 + number, CLEAR, 0)
        encoded = io.BytesIO()
        drawn(number).save(encoded, "GIF", optimize=False)
        alone = encoded.getvalue()
        start = alone.index(b"\x2c", 13 + len(PALETTE))
        data += b"\x2c" + struct.pack("<HHHHB", *place, *SIZE, 0) + alone[start + 10 : -1]
    path.write_bytes(data + b";")
    return path


def visible(image: Image.Image) -> Any:
    """The colours with those of transparent pixels made equal."""
    pixels = numpy.asarray(image.convert("RGBA")).astype(int)
    pixels[pixels[:, :, 3] == 0] = 0
    return pixels


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("place", ["corner", "inside", "end"])
def test_still_gif_has_the_size_of_its_screen(
    render: Transform, job: FolderContext, tmp_path: Path, screen: tuple[int, int], place: str
) -> None:
    far = (screen[0] - SIZE[0], screen[1] - SIZE[1])
    at = {"corner": (0, 0), "inside": (far[0] // 2, far[1] // 3), "end": far}[place]
    path = gif_of(tmp_path / "sticker.gif", screen, [at], disposal=NOTHING)
    result = render(path, {})
    assert (result.source.width, result.source.height) == screen
    (expected,) = frames_of(path, "RGBA")
    assert expected.size == screen
    assert numpy.array_equal(visible(opened(job, result)), visible(expected))


@pytest.mark.parametrize("disposal", [KEPT, CLEARED])
@pytest.mark.parametrize(
    "screen", [(2100, 64), (300, 200), pytest.param((640, 480), marks=pytest.mark.slow)]
)
def test_every_frame_of_a_gif_has_the_size_of_its_screen(
    render: Transform, job: FolderContext, tmp_path: Path, screen: tuple[int, int], disposal: int
) -> None:
    path = gif_of(tmp_path / "moving.gif", screen, [(7, 9), (120, 20), (60, 3)], disposal=disposal)
    expected = frames_of(path, "RGBA")
    result = render(path, {}, pages="all")
    for number, frame in enumerate(expected):
        assert numpy.array_equal(visible(opened(job, result, number)), visible(frame))

    wishes = [
        {"format": kind, "animated": True, "effort": effort}
        for kind, effort in (("gif", 1), ("webp", 0))
    ]
    for made in render(path, *wishes).renditions:
        assert (made.frames, made.width, made.height) == (3, *screen)
        shown = frames_of(job.path(made.file), "RGBA")
        assert times_of(job.path(made.file)) == [100, 110, 120]
        for frame, truth in zip(shown, expected, strict=True):
            difference = numpy.abs(visible(frame) - visible(truth))
            assert (difference.max(axis=2) > 40).mean() < 0.01


def test_crop_focus_and_pad_of_a_gif_go_by_its_screen(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "sticker.gif", (800, 600), [(600, 500)], disposal=NOTHING)
    (whole,) = frames_of(path, "RGBA")
    box = (590, 480, 700, 560)
    crop = {"left": 590, "top": 480, "width": 110, "height": 80}
    pad = {"fit": "pad", "width": 1000, "height": 600, "background": "#00000000"}
    right = {"fit": "cover", "width": 400, "height": 600, "focus": {"x": 1, "y": 0.5}}
    result = render(path, {"crop": crop}, pad, right | {"enlarge": False})
    assert numpy.array_equal(visible(opened(job, result, 0)), visible(whole.crop(box)))
    padded = whole.crop((-100, 0, 900, 600))
    assert numpy.array_equal(visible(opened(job, result, 1)), visible(padded))
    half = whole.crop((400, 0, 800, 600))
    assert numpy.array_equal(visible(opened(job, result, 2)), visible(half))


def test_watermark_from_a_gif_has_the_size_of_its_screen(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "mark.gif", (640, 480), [(540, 400)], disposal=NOTHING)
    source = tmp_path / "white.png"
    Image.new("RGB", (640, 480), "white").save(source)
    watermark = {"file": job.give(path), "scale": 1, "position": "top-left"}
    made = opened(job, render(source, {"watermark": watermark})).convert("RGBA")
    (mark,) = frames_of(path, "RGBA")
    expected = Image.alpha_composite(Image.new("RGBA", mark.size, "white"), mark)
    assert numpy.array_equal(visible(made), visible(expected))


def test_text_page_from_a_gif_has_the_size_of_its_screen(tmp_path: Path) -> None:
    path = gif_of(tmp_path / "page.gif", (1024, 768), [(100, 200)], disposal=NOTHING)
    page = PictureSource(path, 1).page(1)
    assert (page.width, page.height) == (1024, 768)
    pixels = page.pixels(2000, lambda: None)
    assert pixels.shape == (768, 1024, 3)
    (expected,) = frames_of(path, "RGBA")
    marked = numpy.argwhere(numpy.ptp(pixels, axis=2) > 100)
    shown = numpy.argwhere(numpy.asarray(expected)[:, :, 3] > 0)
    assert marked.min(axis=0).tolist() == shown.min(axis=0).tolist()
    assert marked.max(axis=0).tolist() == shown.max(axis=0).tolist()


@pytest.mark.parametrize("screen", [(640, 480), (300, 400)])
def test_opaque_frame_on_a_larger_screen_is_surrounded_by_transparency(
    render: Transform, job: FolderContext, tmp_path: Path, screen: tuple[int, int]
) -> None:
    """As browsers show it; Pillow fills the rest with the first colour of the palette."""
    path = gif_of(tmp_path / "opaque.gif", screen, [(0, 0)], disposal=NOTHING)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x21\xf9\x04") + 3] &= 0xFE  # no transparent index
    path.write_bytes(data)
    result = render(path, {}, {"format": "jpeg", "background": "#ffffff"})
    alpha = opened(job, result, 0).convert("RGBA").getchannel("A")
    assert alpha.getbbox() == (0, 0, *SIZE)
    assert opened(job, result, 1).getpixel((200, 300)) == (255, 255, 255)


def test_frame_beyond_the_screen_enlarges_it(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "beyond.gif", (640, 480), [(620, 470)], disposal=NOTHING)
    (expected,) = frames_of(path, "RGBA")
    result = render(path, {})
    assert (result.source.width, result.source.height) == expected.size == (670, 510)
    assert numpy.array_equal(visible(opened(job, result)), visible(expected))


def test_damaged_frame_on_a_larger_screen_is_broken(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "damaged.gif", (640, 480), [(0, 0), (200, 90), (9, 9), (50, 50)])
    data = bytearray(path.read_bytes())
    third = [place for place in range(len(data)) if data[place : place + 2] == b"\x21\xf9"][2]
    data[data.index(b"\x2c", third) + 10] = 14  # the size of a code: the decoder stops here
    path.write_bytes(data)
    wish = {"format": "webp", "animated": True, "effort": 0}
    for wishes, options in ((wish, {}), ({}, {"pages": [3]})):
        with pytest.raises(JobError) as caught:
            render(path, wishes, **options)
        assert caught.value.code == "image-broken"
    result = render(path, wish, tolerate_damage=True)
    assert (result.source.damaged, result.source.pages) == (True, 4)
    shown = frames_of(job.path(result.renditions[0].file), "RGBA")
    assert [frame.getchannel("A").getbbox() for frame in shown] == [
        (0, 0, 50, 40),
        (200, 90, 250, 130),
    ]


def test_screen_beyond_the_limits_is_refused_by_its_header(
    render: Transform, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "wide.gif", (65_535, 65_535), [(0, 0)], disposal=NOTHING)
    with pytest.raises(JobError, match="65535 x 65535") as caught:
        render(path, {})
    assert caught.value.code == "image-too-large"


def test_animation_on_a_screen_beyond_the_limits_is_refused(
    render: Transform, tmp_path: Path
) -> None:
    path = gif_of(tmp_path / "large.gif", (9000, 4000), [(0, 0), (9, 9)])
    with pytest.raises(JobError, match="2 frames of 9000 x 4000") as caught:
        render(path, {"format": "webp", "animated": True})
    assert caught.value.code == "image-too-large"
