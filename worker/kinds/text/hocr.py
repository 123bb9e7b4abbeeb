"""hOCR 1.2: pages, lines and words with their boxes, as XHTML (kba.github.io/hocr-spec/1.2)."""

import math
import unicodedata
from collections.abc import Iterable
from html import escape
from pathlib import Path

from worker.kinds.text.lines import Line, Page, Quad

HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
 "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
<head>
<title></title>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<meta name="ocr-system" content="heavylift text.extract" />
<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word" />
</head>
<body>
"""
TAIL = "</body>\n</html>\n"


def write(
    pages: Iterable[Page], target: Path, *, scale: float = 1.0, dpi: int | None = None
) -> None:
    """Boxes in whole pixels, so that points of PDF files are multiplied by `scale` to fit `dpi`."""
    with target.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEAD)
        for page in pages:
            size = f"bbox 0 0 {math.ceil(page.width * scale)} {math.ceil(page.height * scale)}"
            resolution = f"; scan_res {dpi} {dpi}" if dpi else ""
            file.write(
                f'<div class="ocr_page" id="page_{page.number}" '
                f'title="{size}; ppageno {page.number - 1}{resolution}">\n'
            )
            for index, line in enumerate(page.lines, start=1):
                file.write(_line(line, f"{page.number}_{index}", scale))
            file.write("</div>\n")
        file.write(TAIL)


def _line(line: Line, name: str, scale: float) -> str:
    title = f"{_box(line.box, scale)}{_angle(line.box)}"
    words = " ".join(
        f'<span class="ocrx_word" id="word_{name}_{number}" '
        f'title="{_box(word.box, scale)}; x_wconf {round(word.confidence * 100)}">'
        f"{_text(word.text)}</span>"
        for number, word in enumerate(line.words(), start=1)
    )
    return f'<span class="ocr_line" id="line_{name}" title="{title}">{words}</span>\n'


def _text(text: str) -> str:
    """XML has no control characters, not even as references."""
    return escape(
        "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Cn") else c for c in text)
    )


def _box(quad: Quad, scale: float) -> str:
    across = [spot[0] * scale for spot in quad]
    down = [spot[1] * scale for spot in quad]
    left, top = max(0, math.floor(min(across))), max(0, math.floor(min(down)))
    return f"bbox {left} {top} {math.ceil(max(across))} {math.ceil(max(down))}"


def _angle(quad: Quad) -> str:
    """Counterclockwise degrees by which the line is turned, if it is not level."""
    (left, top), (right, below) = quad[0], quad[1]
    angle = math.degrees(math.atan2(top - below, right - left))
    return f"; textangle {angle:.1f}" if abs(angle) >= 1 else ""
