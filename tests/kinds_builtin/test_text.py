# ruff: noqa: RUF001  the letters of many languages
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy
import psutil
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from app.jobs import FileId, JobCancelled, JobError
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, TextExtracted, TextLine, TextLines, extract
from worker.kinds.text.pdf import is_pdf

# What skimage's page.png says (its last lines are too faint to be sure of).
SENTENCES = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError(f"dialled out: {args[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


def read(job: FolderContext, path: Path, **options: object) -> TextExtracted:
    return extract(TextExtract.model_validate({"source": job.give(path), **options}), job)


def content(job: FolderContext, file: FileId | None) -> bytes:
    assert file is not None
    return job.path(file).read_bytes()


def squeezed(text: str) -> str:
    return "".join(text.split())


def line_of(result: TextExtracted, text: str) -> TextLine:
    return next(line for line in result.lines if squeezed(text) in squeezed(line.text))


@pytest.mark.slow
def test_reads_a_scanned_page(job: FolderContext, pictures: Path) -> None:
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
def test_boxes_are_in_the_sources_pixels(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    """Enlarged by 4, turned on disk with EXIF saying so, and reduced again before it is read."""
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
def test_reads_a_page_that_is_upside_down(
    job: FolderContext, pictures: Path, tmp_path: Path
) -> None:
    with Image.open(pictures / "page.png") as image:
        image.convert("L").rotate(180).save(tmp_path / "down.png")
    result = read(job, tmp_path / "down.png")
    assert line_of(result, "segmentation").confidence > 0.9


@pytest.mark.slow
def test_no_text(job: FolderContext, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "white.png")
    result = read(job, tmp_path / "white.png")
    assert (result.line_count, result.lines) == (0, [])
    assert content(job, result.text) == b""


@pytest.mark.slow
def test_a_long_strip_takes_bounded_memory(job: FolderContext, tmp_path: Path) -> None:
    """8 x 3000 pixels: the detector would make 736 x 276,000 of them."""
    Image.new("L", (8, 3000), 255).save(tmp_path / "strip.png")
    before = psutil.Process().memory_info().rss
    assert read(job, tmp_path / "strip.png").lines == []
    assert psutil.Process().memory_info().rss - before < 1_500_000_000


@pytest.mark.slow
def test_cancelled_while_labels_across_the_page_are_read(
    job: FolderContext, picture_of: Callable[..., Path], tmp_path: Path
) -> None:
    page = Image.new("RGB", (1000, 1000), "white")
    with Image.open(picture_of(["Lines of the page itself", "and another"], name="a.png")) as lines:
        page.paste(lines, (0, 700))
    with Image.open(picture_of(["Label"], name="b.png", size=(200, 120))) as label:
        upright = label.rotate(90, expand=True)
    for left in range(0, 960, 120):
        page.paste(upright, (left, 100))
    page.save(tmp_path / "drawing.png")
    job.cancel_when = lambda fraction, message: "run across" in message
    with pytest.raises(JobCancelled):
        read(job, tmp_path / "drawing.png")


@pytest.mark.slow
def test_cancelled_between_batches(job: FolderContext, pictures: Path) -> None:
    job.cancel_when = lambda fraction, message: message.startswith("reading lines 7")
    with pytest.raises(JobCancelled):
        read(job, pictures / "page.png")
    assert not job.outputs


def test_what_is_no_picture_is_refused(job: FolderContext, tmp_path: Path) -> None:
    for name, content, code in (
        ("words.png", b"no picture at all", "image-unsupported"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image-unsupported"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JobError) as caught:
            read(job, tmp_path / name)
        assert caught.value.code == code


def test_a_picture_cut_short_is_refused(job: FolderContext, pictures: Path, tmp_path: Path) -> None:
    whole = (pictures / "rocket.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "half.jpg")
    assert caught.value.code == "image-broken"


def test_a_speck_is_refused(job: FolderContext, tmp_path: Path) -> None:
    Image.new("L", (400, 4)).save(tmp_path / "speck.png")
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "speck.png")
    assert caught.value.code == "image-too-small"


# --- what people upload -----------------------------------------------------------------------

CASES = Path(__file__).parent / "cases"
DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")
needs_dejavu = pytest.mark.skipif(
    not DEJAVU.is_file() and "CI" not in os.environ, reason="fonts-dejavu-core is missing"
)

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


def texts(result: TextExtracted) -> list[str]:
    return [squeezed(line.text) for line in result.lines]


def in_order(read: list[str], truth: list[str]) -> float:
    """The share of the true words that are read in order: their longest common subsequence."""
    row = [0] * (len(read) + 1)
    for word in truth:
        previous = row
        row = [0]
        for index, other in enumerate(read):
            best = max(previous[index + 1], row[-1])
            row.append(previous[index] + 1 if word == other else best)
    return row[-1] / len(truth)


@pytest.mark.slow
def test_two_columns_are_read_one_after_the_other(job: FolderContext) -> None:
    assert texts(read(job, CASES / "two-columns.png")) == [squeezed(line) for line in COLUMNS]


@pytest.mark.slow
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_turned_page_is_read_like_the_upright_one(
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


def draw(
    blocks: list[tuple[int, int, str]], path: Path, *, size: tuple[int, int], ink: str = "black"
) -> Path:
    """Texts at their places, in DejaVu Sans of 20 pixels."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.truetype(DEJAVU, 20)
    for left, top, text in blocks:
        pen.multiline_text((left, top), text, font=font, fill=ink, spacing=8)
    image.save(path)
    return path


STORY = (
    "Once upon a time there was a small river that ran between two green hills and never slept "
    "until the winter came with ice and silence over every stone and bridge along its way The "
    "people of the valley said that it had seen kings and beggars pass and had kept the secrets "
    "of both under the same cold water for longer than anyone could count on paper or stone"
)
FOOTNOTE = "1 A footnote below the columns that is as wide as the page, or nearly"


def wrapped(words: list[str], width: int) -> str:
    return textwrap.fill(" ".join(words), width)


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


UNKNOWN = {
    "Greek": "Η ελληνική γλώσσα είναι μία από τις ινδοευρωπαϊκές γλώσσες και αποτελεί το μοναδικό "
    "μέλος ενός ανεξάρτητου κλάδου ΣΥΝΟΛΙΚΟ ΠΟΣΟ 1.234,56 ΕΥΡΩ Ευχαριστούμε για τη συνεργασία",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах Счет от 14 "
    "марта 2024 года оплачен полностью Они наделены разумом и совестью и должны поступать",
    "Arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق وقد وهبوا عقلا وضميرا وعليهم أن "
    "يعامل بعضهم بعضا بروح الإخاء المبلغ الإجمالي 1234 يورو شكرا لتعاملكم معنا",
    "Vietnamese": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi "
    "Mọi con người đều được tạo hoá ban cho lý trí và lương tâm và cần phải đối xử với nhau",
}


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize("language", UNKNOWN)
def test_a_script_that_the_models_do_not_know_gives_no_confident_rubbish(
    job: FolderContext, tmp_path: Path, language: str
) -> None:
    text = wrapped(UNKNOWN[language].split(), 60)
    result = read(job, draw([(40, 40, text)], tmp_path / "page.png", size=(900, 200)))
    assert [line.text for line in result.lines] == []
    assert result.unreadable_lines == result.pages[0].unreadable_lines >= 2
    assert result.pages[0].unknown_script
    details = TextLines.model_validate_json(content(job, result.details))
    assert len(details.unreadable) == result.unreadable_lines


KNOWN = {
    "en": "All human beings are born free and equal in dignity and rights",
    "de": "Größe, Öl und Ärger auf der Straße: eine Überweisung genügt",
    "pl": "Wszyscy ludzie rodzą się wolni i równi, zażółć gęślą jaźń",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar",
    "fr": "Tous les êtres humains naissent libres, où ça, œuvre, été",
    "ro": "Toate ființele umane se nasc libere și egale în demnitate",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága",
    "formula": "where alpha is 0.5 and the sum over i of x[i] is 3 * y + 1",
}


@pytest.mark.slow
@needs_dejavu
def test_no_line_of_a_known_language_is_taken_for_unreadable(
    job: FolderContext, tmp_path: Path
) -> None:
    path = draw([(40, 40, "\n".join(KNOWN.values()))], tmp_path / "page.png", size=(900, 320))
    result = read(job, path)
    assert result.unreadable_lines == 0
    assert not result.pages[0].unknown_script
    assert in_order(list("".join(texts(result))), list(squeezed("".join(KNOWN.values())))) > 0.95
    assert set(result.languages) >= set(KNOWN) - {"formula"}


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
def test_all_pages_of_a_tiff_file_are_read_and_made_searchable(
    job: FolderContext, tmp_path: Path, picture_of: Callable[..., Path]
) -> None:
    pages: list[Image.Image] = []
    for number in (1, 2, 3):
        path = picture_of([f"Page number {number}", "Tom&Jerry <b>"], name=f"{number}.png")
        with Image.open(path) as image:
            pages.append(image.copy())
    pages[2] = pages[2].rotate(-90, expand=True)
    pages[0].save(tmp_path / "all.tiff", save_all=True, append_images=pages[1:], dpi=(100, 100))
    result = read(job, tmp_path / "all.tiff", pages="1,3", outputs=["hocr", "pdf"])

    assert (result.page_count, result.line_count) == (3, 4)
    assert [(page.number, page.rotation) for page in result.pages] == [(1, 0), (3, 270)]
    assert [(line.page, line.text) for line in result.lines] == [
        (1, "Page number 1"),
        (1, "Tom&Jerry <b>"),
        (3, "Page number 3"),
        (3, "Tom&Jerry <b>"),
    ]
    job.assert_monotone()
    assert any(message.startswith("page 3 (2 of 2)") for _, message in job.told)

    made = pypdfium2.PdfDocument(job.path(result.pdf or FileId(int=0)))
    # Turned by the file: a reader sees it upright.
    assert [made[number].get_size() for number in (0, 1)] == [(720, 180), (720, 180)]
    for number, said in ((0, "Page number 1"), (1, "Page number 3")):
        textpage = made[number].get_textpage()
        assert textpage.get_text_range().split() == [*said.split(), "Tom&Jerry", "<b>"]
    left, bottom, right, top = made[0].get_textpage().get_charbox(0)
    letter = pages[0].crop((0, 0, 60, 90)).convert("L")
    dark = letter.point(lambda grey: 255 - grey).getbbox()
    assert dark is not None
    assert (left, 180 - top) == pytest.approx((dark[0] * 0.72, dark[1] * 0.72), abs=12)
    assert bottom < top
    assert left < right

    tree = ElementTree.fromstring(content(job, result.hocr))
    named = "{http://www.w3.org/1999/xhtml}"
    words = [span.text for span in tree.iter(f"{named}span") if span.get("class") == "ocrx_word"]
    assert " ".join(word or "" for word in words) == (
        "Page number 1 Tom&Jerry <b> Page number 3 Tom&Jerry <b>"
    )
    sizes = [
        div.get("title", "").split(";")[0]
        for div in tree.iter(f"{named}div")
        if div.get("class") == "ocr_page"
    ]
    assert sizes == ["bbox 0 0 1000 250", "bbox 0 0 250 1000"]


@pytest.mark.slow
def test_a_searchable_pdf_of_a_japanese_page_holds_its_characters(job: FolderContext) -> None:
    result = read(job, CASES / "vertical-japanese.png", outputs=["pdf"])
    made = pypdfium2.PdfDocument(job.path(result.pdf or FileId(int=0)))
    found = "".join(made[0].get_textpage().get_text_range().split())
    # PDFium itself orders text that runs down from the left.
    assert "吾輩は猫である名前はまだ無い" in found
    assert "どこで生れたかとんと見当が" in found
    assert "いた事だけは記憶している" in found


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


def test_a_tiff_file_with_lost_pixels_is_refused(job: FolderContext) -> None:
    with pytest.raises(JobError) as caught:
        read(job, CASES / "tiff-tiled-deflate-cut.tiff")
    assert caught.value.code == "image-broken"


def test_pages_of_a_picture_that_are_not_there_are_refused(
    job: FolderContext, tmp_path: Path
) -> None:
    Image.new("L", (300, 200), 255).save(tmp_path / "one.png")
    with pytest.raises(JobError) as caught:
        read(job, tmp_path / "one.png", pages="2")
    assert caught.value.code == "page-not-found"


def test_a_result_of_the_version_before_is_still_valid() -> None:
    before = {
        "width": 384,
        "height": 191,
        "line_count": 1,
        "lines": [
            {"text": "Some text", "box": [{"x": 1.0, "y": 2.0}] * 4, "confidence": 0.98},
        ],
        "text": "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        "details": "3fa85f64-5717-4562-b3fc-2c963f66afa7",
    }
    result = TextExtracted.model_validate(before)
    assert (result.page_count, result.pages, result.lines[0].page) == (1, [], 1)


CLAIMED = {
    "German": "ÄÖÜäöüß",
    "French": "àâæçéèêëîïôœùûüÿÀÉÇ",
    "Spanish": "áéíóúüñÁÉÍÓÚÑ¿",
    "Polish": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ",
    "Czech": "áčďéěíňóřšťúůýž",
    "Turkish": "çğıİöşüÇĞÖŞÜ",
    "Romanian": "ăâîșțĂÂÎȘȚ",
    "Hungarian": "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
    "Danish": "æøåÆØÅ",
    "Icelandic": "ðþæöáéíóúýÐÞ",
    "Latvian": "āčēģīķļņšūž",
    "Chinese": "中文简体繁體國語",
    "Japanese": "ひらがなカタカナ日本語",
}


@pytest.mark.slow
def test_the_model_knows_the_letters_of_what_it_claims_to_read() -> None:
    from worker.kinds.text.recognise import _engine

    known = set(_engine(1)._load_rec_model().postprocess_op.character)
    for language, letters in CLAIMED.items():
        assert set(letters) <= known, (language, set(letters) - known)
    # rapidocr lists Vietnamese as well; the model has not its letters.
    for language, letters in {"Vietnamese": "ếệạ", "Russian": "ж", "Korean": "한"}.items():
        assert not set(letters) <= known, language


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_no_telemetry_and_no_download(home: Path) -> None:
    """In a process of its own: onnxruntime starts its telemetry when it is loaded, in C++."""
    code = (
        "import psutil\n"
        "from worker.kinds.text.recognise import _engine\n"
        "engine = _engine(1)\n"
        "import numpy\n"
        "engine.recognize_txt([numpy.full((48, 320, 3), 255, numpy.uint8)])\n"
        "print(psutil.Process().net_connections())\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORT_")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["[]"], done.stderr
    assert done.stderr == ""  # nor does rapidocr chat
    # Its device id and its store of events, which are there as soon as telemetry is on.
    written = [str(path.relative_to(home)) for path in home.rglob("*")]
    assert not [name for name in written if "onnxruntime" in name], written


def test_models_that_are_missing_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.kinds.text import recognise

    monkeypatch.setitem(recognise.MODELS, "Rec", "PP-OCRv9_rec_huge.onnx")
    recognise._engine.cache_clear()
    with pytest.raises(FileNotFoundError, match="never downloaded"):
        recognise._engine(1)
    recognise._engine.cache_clear()


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
