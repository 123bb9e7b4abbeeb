"""Animated GIF and WebP files: kept whole, one frame of them, damaged and hostile ones."""

import random
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from app.jobs import JobCancelled, JobError
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.image.rendering import (
    COLOURS,
    Transform,
    close,
    frames_of,
    opened,
    rgba_at,
    times_of,
)

TIMES = [100, 250, 400, 70]


def saved_animation(path: Path, kind: str, frames: list[Image.Image], **options: Any) -> Path:
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.fixture(params=["gif", "webp"])
def animation(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """60 x 40: each frame has a white square of 20 pixels, which moves to the right."""
    frames = []
    for number, colour in enumerate(COLOURS):
        frame = Image.new("RGB", (60, 40), colour)
        frame.paste((255, 255, 255), (number * 10, 0, number * 10 + 20, 20))
        frames.append(frame)
    kind: str = request.param
    options = {} if kind == "gif" else {"lossless": True}
    path = tmp_path / f"animation.{kind}"
    return saved_animation(path, kind, frames, duration=TIMES, loop=3, **options)


def made_frames(job: FolderContext, result: Any, index: int = 0) -> list[Image.Image]:
    return frames_of(job.path(result.renditions[index].file))


def test_frames_are_pages_too(render: Transform, job: FolderContext, animation: Path) -> None:
    result = render(animation, {}, pages=[1, 4])
    assert close(opened(job, result, 1).convert("RGB").getpixel((5, 30)), COLOURS[3])


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animation_is_kept_with_its_times(
    render: Transform, job: FolderContext, animation: Path, kind: str
) -> None:
    result = render(animation, {"format": kind, "width": 30, "animated": True})
    made = result.renditions[0]
    assert (made.width, made.height, made.frames) == (30, 20, 4)
    frames = made_frames(job, result)
    assert [frame.size for frame in frames] == [(30, 20)] * 4
    for number, frame in enumerate(frames):
        assert close(frame.getpixel((15, 17)), COLOURS[number])
        assert close(frame.getpixel((5 * number + 5, 4)), (255, 255, 255))
    assert times_of(job.path(result.renditions[0].file)) == TIMES
    with Image.open(job.path(made.file)) as image, Image.open(animation) as source:
        # A GIF file says how often it is shown again, and a WebP file how often it is shown.
        shown = {"GIF": 1, "WEBP": 0}
        assert (
            image.info["loop"] + shown[str(image.format)]
            == source.info["loop"] + shown[str(source.format)]
        )


@pytest.mark.parametrize(
    ("wish", "size"),
    [
        ({}, (60, 40)),
        ({"width": 30, "height": 30, "fit": "cover"}, (30, 30)),
        ({"width": 90, "height": 90, "fit": "cover"}, (90, 90)),
        ({"width": 80, "height": 80, "fit": "pad"}, (80, 80)),
        ({"width": 30, "height": 30, "fit": "cover", "focus": "attention"}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "cover", "focus": {"x": 0, "y": 0}}, (30, 30)),
        ({"rotate": 90}, (40, 60)),
        ({"crop": {"left": 0, "top": 0, "width": 40, "height": 20}}, (40, 20)),
        ({"blur": 2, "sharpen": 1}, (60, 40)),
    ],
)
def test_every_step_applies_to_each_frame(
    render: Transform,
    job: FolderContext,
    animation: Path,
    wish: dict[str, Any],
    size: tuple[int, int],
) -> None:
    result = render(animation, {"format": "webp", "animated": True, **wish})
    frames = made_frames(job, result)
    assert [frame.size for frame in frames] == [size] * 4
    still = render(animation, {"format": "webp", **wish}, pages=[3])
    middle = (size[0] // 2, size[1] - size[1] // 3)
    if wish.get("focus") != "attention":
        expected = rgba_at(opened(job, still), middle)[:3]
        assert close(frames[2].getpixel(middle), expected)


def test_smart_crop_keeps_the_same_part_in_every_frame(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    """The thing is on the left at first, and jumps to the right: the part must not follow it."""
    thing = Image.effect_noise((30, 30), 100).convert("L")
    coloured = Image.merge("RGB", (thing, Image.new("L", thing.size, 20), thing))
    frames = []
    for left in (5, 160):
        frame = Image.new("RGB", (200, 40), (128, 128, 128))
        frame.paste(coloured, (left, 5))
        frames.append(frame)
    path = saved_animation(tmp_path / "jump.webp", "webp", frames, duration=100, lossless=True)
    wish = {"width": 40, "height": 40, "fit": "cover", "focus": "attention"}
    first, second = made_frames(job, render(path, {"format": "webp", "animated": True, **wish}))
    assert not close(first.getpixel((20, 20)), (128, 128, 128))
    assert second.getextrema() == ((128, 128), (128, 128), (128, 128)) or close(
        second.getpixel((20, 20)), (128, 128, 128)
    )


def test_watermark_is_on_every_frame(
    render: Transform, job: FolderContext, animation: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mark.png"
    Image.new("RGB", (10, 10), (0, 0, 0)).save(path)
    watermark = {"file": job.give(path), "position": "bottom-left", "scale": 0.25}
    wish = {"format": "webp", "animated": True, "watermark": watermark}
    for frame in made_frames(job, render(animation, wish)):
        assert close(frame.getpixel((4, 36)), (0, 0, 0))


def test_animated_rendition_of_a_still_picture_has_one_frame(
    render: Transform, job: FolderContext, quarters: Path
) -> None:
    for kind in ("gif", "webp"):
        made = render(quarters, {"format": kind, "animated": True}).renditions[0]
        assert (made.frames, made.width, made.height) == (1, 120, 80)
        with Image.open(job.path(made.file)) as image:
            assert getattr(image, "n_frames", 1) == 1


def test_first_frame_is_rendered_unless_the_animation_is_asked_for(
    render: Transform, job: FolderContext, animation: Path
) -> None:
    for kind in ("gif", "webp", "png"):
        result = render(animation, {"format": kind})
        with Image.open(job.path(result.renditions[0].file)) as image:
            assert getattr(image, "n_frames", 1) == 1
        assert close(opened(job, result).convert("RGB").getpixel((50, 30)), COLOURS[0])


@pytest.mark.parametrize(("kind", "opacity"), [("gif", 0), ("webp", 100)])
def test_transparent_frames_stay_transparent(
    render: Transform, job: FolderContext, tmp_path: Path, kind: str, opacity: int
) -> None:
    frames = []
    for number in range(3):
        frame = Image.new("RGBA", (40, 40), (0, 0, 255, opacity))
        frame.paste((255, 0, 0, 255), (10 * number, 0, 10 * number + 10, 40))
        frames.append(frame)
    path = saved_animation(tmp_path / "clear.webp", "webp", frames, duration=90, lossless=True)
    result = render(path, {"format": kind, "animated": True})
    with Image.open(job.path(result.renditions[0].file)) as image:
        made = [frame.convert("RGBA") for frame in ImageSequence.Iterator(image)]
    assert len(made) == 3
    for number, frame in enumerate(made):
        assert rgba_at(frame, (10 * number + 5, 20))[3] == 255
        assert abs(rgba_at(frame, (35, 20))[3] - opacity) < 5


def bomb_gif(frames: int, side: int = 1) -> bytes:
    """A GIF file of frames of one pixel on a screen of this width and height."""
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04\x04\x0a\x00\x00\x00"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + (control + frame) * frames + b";"


@pytest.mark.parametrize(("frames", "side"), [(100_000, 1), (1001, 1), (900, 500)])
def test_animation_bomb_is_refused_by_its_header(
    render: Transform, tmp_path: Path, frames: int, side: int
) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(bomb_gif(frames, side))
    with pytest.raises(JobError, match="frames") as caught:
        render(path, {"format": "webp", "animated": True})
    assert caught.value.code == "image-too-large"
    assert "animated" in caught.value.detail


def test_animation_that_would_grow_too_large_is_refused(render: Transform, animation: Path) -> None:
    wish = {"format": "webp", "animated": True, "width": 9000, "enlarge": True}
    with pytest.raises(JobError, match="4 frames") as caught:
        render(animation, wish)
    assert caught.value.code == "rendition-too-large"


def test_cut_animation_is_broken_unless_damage_is_tolerated(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    frames = [Image.effect_noise((60, 40), 90).convert("P") for _ in range(4)]
    path = saved_animation(tmp_path / "cut.gif", "gif", frames, duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    wish = {"format": "webp", "animated": True}
    with pytest.raises(JobError) as caught:
        render(path, wish)
    assert caught.value.code == "image-broken"
    result = render(path, wish, tolerate_damage=True)
    assert result.source.damaged
    assert len(made_frames(job, result)) >= 2


def noisy_frames() -> list[Image.Image]:
    generator = random.Random(5)
    noise = [Image.frombytes("L", (60, 40), generator.randbytes(2400)) for _ in range(4)]
    return [frame.convert("P") for frame in noise]


def third_frame_damaged(path: Path, kind: str, *, by: str = "pixels") -> Path:
    """An animation of four frames, of which the third can't be decoded."""
    options = {"lossless": True} if kind == "webp" else {}
    saved_animation(path, kind, noisy_frames(), duration=100, **options)
    data = bytearray(path.read_bytes())
    if kind == "webp":
        at, found, start = 12, 0, 0
        while found < 3:
            found += data[at : at + 4] == b"ANMF"
            start = at + 8
            at = start + struct.unpack_from("<I", data, at + 4)[0]
        for place in range(start + 44, start + 144):
            data[place] ^= 0x5A
    else:
        start = data.index(
            b"\x2c", [i for i in range(len(data)) if data[i : i + 2] == b"\x21\xf9"][2]
        )
        flags = data[start + 9]
        codes = start + 10 + ((3 << (flags & 7) + 1) if flags & 0x80 else 0)
        if by == "header":
            data[codes] = 14
        else:
            for place in range(codes + 40, codes + 200):
                data[place] ^= 0xFF
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("tolerate_damage", [False, True])
@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animation_with_a_damaged_frame_is_broken(
    render: Transform, tmp_path: Path, kind: str, tolerate_damage: bool
) -> None:
    path = third_frame_damaged(tmp_path / f"damaged.{kind}", kind)
    with pytest.raises(JobError) as caught:
        render(path, {"format": "webp", "animated": True}, tolerate_damage=tolerate_damage)
    assert caught.value.code == "image-broken"
    # The first frame is whole.
    result = render(path, {})
    assert (result.source.damaged, result.source.pages) == (False, 4)


def test_gif_with_a_frame_that_is_not_recognised_is_broken(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    path = third_frame_damaged(tmp_path / "damaged.gif", "gif", by="header")
    wish = {"format": "webp", "animated": True}
    for wishes, options in ((wish, {}), ({}, {"pages": [3]}), ({}, {"pages": "all"})):
        with pytest.raises(JobError) as caught:
            render(path, wishes, **options)
        assert caught.value.code == "image-broken"
    result = render(path, wish, tolerate_damage=True)
    assert result.source.damaged
    assert (result.source.pages, result.renditions[0].frames) == (4, 2)
    assert len(made_frames(job, result)) == 2


@pytest.mark.parametrize("end", [b"", b"\0;", b"\0\0\0;", b"\0", b";junk"])
def test_gif_with_an_unusual_end_is_whole(
    render: Transform, job: FolderContext, tmp_path: Path, end: bytes
) -> None:
    path = saved_animation(tmp_path / "end.gif", "gif", noisy_frames(), duration=100)
    path.write_bytes(path.read_bytes().removesuffix(b";") + end)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 4
    result = render(path, {"format": "webp", "animated": True})
    assert (result.renditions[0].frames, result.source.damaged) == (4, False)
    assert render(path, {}, pages=[4]).renditions[0].page == 4


def test_gif_with_frames_behind_stray_bytes_is_not_taken_for_whole(
    render: Transform, tmp_path: Path
) -> None:
    path = tmp_path / "stray.gif"
    whole = bomb_gif(2)
    frame = whole[-24:-1]
    path.write_bytes(whole[:-1] + b"\0" + frame + b";")
    with pytest.raises(JobError) as caught:
        render(path, {"format": "webp", "animated": True})
    assert caught.value.code == "image-broken"


def test_animated_rendition_of_a_tiff_shows_its_first_page(
    render: Transform, job: FolderContext, document: Path
) -> None:
    result = render(document, {"format": "webp", "animated": True})
    assert (result.renditions[0].frames, opened(job, result).size) == (1, (40, 30))


def test_job_is_cancelled_within_an_animation(
    render: Transform, job: FolderContext, tmp_path: Path
) -> None:
    frames = [Image.effect_noise((200, 150), 90).convert("P") for _ in range(40)]
    path = saved_animation(tmp_path / "long.gif", "gif", frames, duration=100)
    looks = 0

    def at_the_third_look(fraction: float, message: str) -> bool:
        nonlocal looks
        looks += message.startswith("rendition")
        return looks == 3

    job.cancel_when = at_the_third_look
    wish = {"format": "webp", "animated": True, "width": 1200, "enlarge": True, "effort": 6}
    with pytest.raises(JobCancelled):
        render(path, wish)
    assert not job.outputs
