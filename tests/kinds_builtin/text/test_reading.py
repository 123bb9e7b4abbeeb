"""Pages of pictures: reading order, direction, colours and boxes."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import (
    CASES,
    DEJAVU,
    content,
    draw,
    in_order,
    line_of,
    needs_dejavu,
    read,
    squeezed,
    texts,
    wrapped,
)
from worker.kinds.text import TextLines

# Text of skimage's page.png, without its last lines, which are too faint.
SENTENCES = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
]


INVOICE = [
    "The invoice of 14 March 2024 was paid in full.",
    "Total amount due: 1,234.56 EUR (VAT 19%)",
    "Please quote reference INV-2024/0071 when paying.",
    "Account DE89 3704 0044 0532 0130 00 at Example Bank",
    "Late payments bear interest of 5.00% per year.",
    "Thank you for your business, and see you soon!",
]


COLUMNS = [
    "Alpha begins the left",
    "column, which goes on",
    "for several lines and",
    "ends here at delta.",
    "Echo opens the right",
    "column of the same page",
    "and foxtrot follows in",
    "the very last line.",
]


STORY = (
    "Once upon a time there was a small river that ran between two green hills and never slept "
    "until the winter came with ice and silence over every stone and bridge along its way The "
    "people of the valley said that it had seen kings and beggars pass and had kept the secrets "
    "of both under the same cold water for longer than anyone could count on paper or stone"
)


FOOTNOTE = "1 A footnote below the columns that is as wide as the page, or nearly"


@pytest.mark.slow
def test_scanned_page_is_read(job: FolderContext, pictures: Path) -> None:
    result = read(job, pictures / "page.png")

    assert (result.width, result.height) == (384, 191)
    assert result.line_count == len(result.lines) >= len(SENTENCES)
    tops = []
    for sentence in SENTENCES:
        line = line_of(result, sentence)
        assert line.confidence > 0.9
        assert all(0 <= point.x <= 384 and 0 <= point.y <= 191 for point in line.box)
        top_left, top_right, bottom_right, bottom_left = line.box
        assert top_left.x < top_right.x
        assert bottom_left.x < bottom_right.x
        assert top_left.y < bottom_left.y
        tops.append(top_left.y)
    assert tops == sorted(tops)
    # The heading is at the top left, half as wide as the page's text.
    heading = line_of(result, SENTENCES[0]).box
    assert heading[0].x < 15
    assert 270 < heading[1].x < 310
    assert heading[3].y < 45

    text = content(job, result.text).decode()
    assert text.splitlines() == [line.text for line in result.lines]
    details = TextLines.model_validate(json.loads(content(job, result.details)))
    assert details.lines == result.lines
    assert [(name, kind) for _, name, kind in job.outputs.values()] == [
        ("text.txt", "text/plain; charset=utf-8"),
        ("lines.json", "application/json"),
    ]
    assert any(message.startswith("reading lines 1 to 6 of") for _, message in job.told)
    job.assert_monotone()


@pytest.mark.slow
def test_boxes_are_in_pixels_of_the_source(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    """The picture is enlarged by 4, stored turned (by EXIF), and reduced before it is read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(pictures / "page.png") as image:
        large = image.convert("L").resize((384 * 4, 191 * 4), Image.Resampling.LANCZOS)
        large.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "scan.jpg", exif=exif)
    result = read(job, tmp_path / "scan.jpg", resolution=1000)

    assert (result.width, result.height) == (384 * 4, 191 * 4)
    heading = line_of(result, SENTENCES[0]).box
    assert heading[0].x < 60
    assert 270 * 4 < heading[1].x < 310 * 4
    assert heading[3].y < 45 * 4


@pytest.mark.slow
def test_page_that_is_upside_down_is_read(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    with Image.open(pictures / "page.png") as image:
        image.convert("L").rotate(180).save(tmp_path / "down.png")
    result = read(job, tmp_path / "down.png")
    assert line_of(result, "segmentation").confidence > 0.9


@pytest.mark.slow
def test_white_page_has_no_lines(job: FolderContext, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    result = read(job, tmp_path / "white.png")
    assert (result.line_count, result.lines) == (0, [])
    assert content(job, result.text) == b""


@pytest.mark.slow
def test_two_columns_are_read_one_after_the_other(job: FolderContext) -> None:
    assert texts(read(job, CASES / "two-columns.png")) == [squeezed(line) for line in COLUMNS]


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_page_is_read_like_the_upright_one(
    job: FolderContext, tmp_path: Path, turn: int
) -> None:
    """The case is turned counterclockwise by 90 degrees; `turn` makes it upright, clockwise."""
    path = tmp_path / "page.png"
    with Image.open(CASES / "rot90.png") as image:
        turned = image.rotate(-(90 - turn), expand=True)
    turned.save(path)
    size = turned.size
    result = read(job, path)
    assert texts(result) == [squeezed(line) for line in INVOICE]
    assert result.pages[0].rotation == turn
    for line in result.lines:
        first, second, _, last = line.box
        along = second.x - first.x, second.y - first.y
        down = last.x - first.x, last.y - first.y
        match turn:
            case 0:
                assert along[0] > 0 < down[1]
            case 90:
                assert along[1] < 0 < down[0]
            case 180:
                assert along[0] < 0 > down[1]
            case _:
                assert along[1] > 0 > down[0]
        assert 0 <= first.x <= size[0]
        assert 0 <= first.y <= size[1]


@pytest.mark.slow
def test_white_text_on_transparency_is_read(job: FolderContext) -> None:
    assert texts(read(job, CASES / "white-on-clear.png")) == [squeezed(line) for line in INVOICE]


@pytest.mark.slow
@needs_dejavu
def test_light_text_on_a_dark_region_is_read(job: FolderContext, tmp_path: Path) -> None:
    path = draw([(40, 20, "Black text on white paper")], tmp_path / "page.png", size=(600, 200))
    with Image.open(path) as image:
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, 60, 600, 120), fill="navy")
        pen.text((40, 78), "White text on a blue bar", font=ImageFont.truetype(DEJAVU, 20))
        pen.rectangle((0, 120, 600, 200), fill=(90, 90, 90))
        grey = (150, 150, 150)
        pen.text((40, 148), "Grey on grey", font=ImageFont.truetype(DEJAVU, 20), fill=grey)
        image.save(path)
    assert [line.text for line in read(job, path).lines] == [
        "Black text on white paper",
        "White text on a blue bar",
        "Grey on grey",
    ]


@pytest.mark.slow
def test_vertical_japanese_is_read_from_the_right(job: FolderContext) -> None:
    """Drawn with IPA Gothic (IPA Font License)."""
    result = read(job, CASES / "vertical-japanese.png")
    page = result.pages[0]
    assert (page.vertical, page.rotation) == (True, 0)
    truth = (
        "吾輩は猫である名前はまだ無い"
        "どこで生れたかとんと見当が"
        "つかぬ何でも薄暗いじめじめ"
        "した所でニャーニャー泣いて"
        "いた事だけは記憶している"
    )
    assert in_order(list("".join(texts(result))), list(truth)) > 0.95


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize(("columns", "skew"), [(2, 2.5), (3, 0.0)])
def test_words_of_columns_below_a_heading_are_in_order(
    job: FolderContext, tmp_path: Path, columns: int, skew: float
) -> None:
    words = STORY.split()
    share = -(-len(words) // columns)
    parts = [words[start : start + share] for start in range(0, len(words), share)]
    step = 1100 // columns
    blocks = [(300, 30, "A heading that spans all of the columns here")]
    blocks += [
        (50 + index * step, 100, wrapped(part, 66 // columns)) for index, part in enumerate(parts)
    ]
    blocks.append((50, 560, FOOTNOTE))
    path = draw(blocks, tmp_path / "page.png", size=(1200, 650))
    with Image.open(path) as image:
        image.rotate(-skew, Image.Resampling.BICUBIC, fillcolor="white").save(path)
    result = read(job, path)
    assert result.pages[0].skew == pytest.approx(skew, abs=0.4)
    truth = " ".join([blocks[0][2], STORY, FOOTNOTE]).split()
    assert in_order(" ".join(line.text for line in result.lines).split(), truth) >= 0.95
