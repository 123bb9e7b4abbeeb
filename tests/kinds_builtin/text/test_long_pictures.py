"""Pictures that are much longer than wide: strips, screenshots of whole pages, rolls of paper."""

import random
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageDraw, ImageFont

from app.jobs import JobCancelled
from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import (
    DEJAVU,
    UNKNOWN,
    content,
    in_order,
    needs_dejavu,
    read,
    wrapped,
)
from worker.kinds.text import TextExtracted
from worker.kinds.text.picture import MAX_LONG_PIXELS, longest_side
from worker.kinds.text.recognise import Recogniser
from worker.kinds.text.strips import TILE, joined, map_of_text, pieces

TEXT = (
    "river stone bridge winter silence valley people secrets water paper count longer kings "
    "beggars cold under same both kept until green hills never slept came with"
)


def some_words(count: int) -> list[str]:
    generator = random.Random(count)
    return generator.choices(TEXT.split(), k=count)


def words_of(job: FolderContext, result: TextExtracted) -> list[str]:
    return content(job, result.text).decode().split()


def strip_of(words: list[str], *, size: int, height: int) -> Image.Image:
    """One line of text, as long as it takes."""
    font = ImageFont.truetype(DEJAVU, size)
    text = " ".join(words)
    image = Image.new("RGB", (40 + int(font.getlength(text)), height), "white")
    ImageDraw.Draw(image).text((20, (height - size) // 2), text, font=font, fill="black")
    return image


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize("turn", [0, 90, 270])
def test_strip_of_one_long_line_is_read(job: FolderContext, tmp_path: Path, turn: int) -> None:
    words = some_words(60)
    strip = strip_of(words, size=26, height=48)
    assert strip.width > 100 * strip.height
    path = tmp_path / "strip.png"
    strip.rotate(turn, expand=True).save(path)
    result = read(job, path)
    assert in_order(words_of(job, result), words) >= 0.98
    assert (result.unreadable_lines, result.pages[0].unknown_script) == (0, False)
    assert result.pages[0].rotation == turn
    across = [point.y if turn else point.x for line in result.lines for point in line.box]
    assert min(across) < 40
    assert max(across) > strip.width - 40


@pytest.mark.slow
@needs_dejavu
def test_long_screenshot_is_read_from_top_to_bottom(job: FolderContext, tmp_path: Path) -> None:
    """40 lines on 9,000 pixels, light on dark in the middle."""
    words = some_words(200)
    lines = [words[start : start + 5] for start in range(0, len(words), 5)]
    image = Image.new("RGB", (900, 9000), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 3000, 900, 6000), fill=(20, 24, 40))
    font = ImageFont.truetype(DEJAVU, 34)
    for index, line in enumerate(lines):
        top = 40 + index * 222
        ink = "white" if 2990 < top < 5960 else "black"
        pen.text((40, top), " ".join(line), font=font, fill=ink)
    path = tmp_path / "screenshot.png"
    image.save(path)
    result = read(job, path)
    assert in_order(words_of(job, result), words) >= 0.98
    assert result.line_count == len(lines)
    tops = [line.box[0].y for line in result.lines]
    assert tops == pytest.approx([40 + index * 222 for index in range(len(lines))], abs=25)
    job.assert_monotone()


@pytest.mark.slow
@needs_dejavu
def test_job_is_cancelled_between_tiles(
    job: FolderContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strip_of(some_words(80), size=26, height=48).save(tmp_path / "strip.png")
    tiles = 0
    scores = Recogniser._scores

    def counted(self: Recogniser, prepared: Any, watch: Any) -> Any:
        nonlocal tiles
        tiles += 1
        return scores(self, prepared, watch)

    monkeypatch.setattr(Recogniser, "_scores", counted)
    job.cancel_when = lambda fraction, message: tiles == 2
    with pytest.raises(JobCancelled):
        read(job, tmp_path / "strip.png")
    assert tiles == 2


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize("language", ["Russian", "Greek"])
def test_unreadable_small_lines_are_not_blamed_on_the_script(
    job: FolderContext, tmp_path: Path, language: str
) -> None:
    """The same lines, in letters that are large enough and in letters that are not."""
    text = wrapped(UNKNOWN[language].split(), 60)
    font = ImageFont.truetype(DEJAVU, 14)
    page = Image.new("RGB", (1200, 240), "white")
    ImageDraw.Draw(page).multiline_text((40, 40), text, font=font, fill="black", spacing=14)
    page.save(tmp_path / "page.png")
    assert read(job, tmp_path / "page.png").pages[0].unknown_script
    small = read(job, tmp_path / "page.png", resolution=320)
    assert (small.lines, small.pages[0].unknown_script) == ([], False)


@pytest.mark.parametrize(
    ("width", "height", "resolution", "longest"),
    [
        (2480, 3508, 2000, 2000),  # A4 at 300 dpi
        (600, 1800, 2000, 2000),
        (1080, 20_000, 2000, 12_346),  # 667 pixels wide
        (20_000, 1080, 2000, 12_346),
        (1080, 20_000, 3000, 18_519),
    ],
)
def test_long_picture_is_reduced_by_its_shorter_side(
    width: int, height: int, resolution: int, longest: int
) -> None:
    assert longest_side(width, height, resolution) == longest


def test_low_strip_is_not_reduced() -> None:
    assert longest_side(12_000, 60, 2000) >= 12_000


@pytest.mark.parametrize("size", [(1000, 65_500), (65_500, 2200), (65_500, 60), (8, 65_500)])
def test_long_picture_is_read_at_a_bounded_number_of_pixels(size: tuple[int, int]) -> None:
    longest = longest_side(*size, 3000)
    scale = min(1, longest / max(size))
    assert size[0] * scale * size[1] * scale <= MAX_LONG_PIXELS * 1.001


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("side", "length"), [(60, 5000), (736, 1536), (900, 4321), (500, 3001)])
def test_map_is_made_of_tiles_without_seams(upright: bool, side: int, length: int) -> None:
    """The detector is replaced by one that gives each pixel's own brightness."""
    generator = numpy.random.default_rng(5)
    noise = generator.integers(0, 255, (side // 20 + 1, length // 20 + 1), numpy.uint8)
    size = (side, length) if upright else (length, side)
    strip = Image.fromarray(noise if not upright else noise.T).resize(size)
    pixels = numpy.repeat(numpy.asarray(strip)[:, :, None], 3, axis=2)
    shapes = []

    def brightness(tile: Any) -> Any:
        shapes.append(tile.shape)
        return tile[:, :, 0].astype(numpy.float32)

    scores, scale = map_of_text(pixels, brightness)
    height, width = pixels.shape[:2]
    size = round(width * scale[0]), round(height * scale[1])
    whole = strip.resize(size, Image.Resampling.BILINEAR)
    part = scores[: whole.height, : whole.width]
    assert part.shape == (whole.height, whole.width)
    assert numpy.abs(part - numpy.asarray(whole).astype(float)).max() <= 2
    assert all(first % 32 == second % 32 == 0 for first, second, _ in shapes)
    assert max(max(shape) for shape in shapes) <= max(TILE, side)


def test_long_line_is_cut_at_its_widest_gaps() -> None:
    ink = numpy.zeros((20, 4000), dtype=bool)
    for start in range(0, 4000, 50):  # words of 40 columns, with a wider gap behind every fourth
        ink[5:15, start : start + (40 if start // 50 % 4 else 34)] = True
    cuts = pieces(ink)
    assert [first for first, _, _ in cuts[1:]] == [last for _, last, _ in cuts[:-1]]
    assert (cuts[0][0], cuts[-1][1]) == (0, 4000)
    assert max(last - first for first, last, _ in cuts) <= 800
    assert all(not ink[:, last].any() and last % 200 in range(34, 50) for _, last, _ in cuts[:-1])
    assert all(spaced for _, _, spaced in cuts[:-1])


def test_long_line_without_gaps_is_cut_all_the_same() -> None:
    cuts = pieces(numpy.ones((10, 2345), dtype=bool))
    assert max(last - first for first, last, _ in cuts) <= 400
    assert sum(last - first for first, last, _ in cuts) == 2345
    assert not any(spaced for _, _, spaced in cuts)


@pytest.mark.parametrize(
    ("parts", "spaced", "text"),
    [
        (["one two", "three"], True, "one two three"),
        (["unbro", "ken"], False, "unbroken"),
        (["日本語", "の文章"], True, "日本語の文章"),
        (["日本語", "and"], True, "日本語and"),
        (["one", "", "two"], True, "one two"),
        (["", "two"], True, "two"),
        (["", ""], True, ""),
    ],
)
def test_pieces_of_a_line_are_joined(parts: list[str], spaced: bool, text: str) -> None:
    said = [(part, 0.9, tuple((i + 0.5) / len(part) for i in range(len(part)))) for part in parts]
    cuts = [(100 * i, 100 * i + 100, spaced) for i in range(len(parts))]
    found, confidence, places = joined(said, cuts)
    assert (found, len(places)) == (text, len(text))
    assert confidence == pytest.approx(0.9 if text else 0)
    assert list(places) == sorted(places)
    assert all(0 <= place <= 1 for place in places)
