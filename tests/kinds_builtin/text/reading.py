# ruff: noqa: RUF001  the letters of many languages
"""Reading text through the kind's function, and drawing pages to read."""

import os
import textwrap
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from app.jobs import FileId
from tests.kinds_builtin.conftest import FolderContext
from worker.kinds.text import TextExtract, TextExtracted, TextLine, extract

CASES = Path(__file__).parents[1] / "cases"


DEJAVU = Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf")


needs_dejavu = pytest.mark.skipif(
    not DEJAVU.is_file() and "CI" not in os.environ, reason="fonts-dejavu-core is missing"
)
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


def read(job: FolderContext, path: Path, **options: object) -> TextExtracted:
    return extract(TextExtract.model_validate({"source": job.give(path), **options}), job)


def content(job: FolderContext, file: FileId | None) -> bytes:
    assert file is not None
    return job.path(file).read_bytes()


def squeezed(text: str) -> str:
    return "".join(text.split())


def line_of(result: TextExtracted, text: str) -> TextLine:
    return next(line for line in result.lines if squeezed(text) in squeezed(line.text))


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


def wrapped(words: list[str], width: int) -> str:
    return textwrap.fill(" ".join(words), width)
