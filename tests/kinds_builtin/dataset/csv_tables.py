"""Random CSV files, with texts on which other tools went wrong."""

import gzip
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

NAMES = [
    "*", "^k.*$", 'a"b', "'; drop table x; --", "c0", "c1", "A", "a", "", "line\nbreak",
    "\U0001f600",
    "select", "from t", "rowid", "file_row_number", "filename", "NULL", "a.b", "a,b", "$1", "?",
    "{x}",
    " blank ", "é", "e\u0301", "(x)", "--", "/*", "\\", "%s", "__index__", "1", "true", "n'ame",
    "a;b",
    "COLUMNS(*)", "row_number", "count", "#a", "x" * 200,
]  # fmt: skip

WORDS = [
    "a", "A", "b", "", " ", "NA", "null", "NULL", "nan", "NaN", "inf", "-inf", "-", "n/a", "0x10",
    "1_000",
    "true", "True", "é", "e\u0301", "\U0001f600", "\x00", "a\x00b", "\\", "\\N", "'", '"', '""',
    "a,b",
    "a;b", "a\tb", "a|b", "x\ny", "x\r\ny", "x\ry", "it's", 'say "hi"', "#no", "x" * 3000,
    "\u2028", "٣", "²",
    "%", "_", "a%", "\u0085", "\ufeff", "ß", "ẞ", "\u0131", "; drop", "$1", "1a", "e5", ".", "+",
    "1e",
    "1,5",
]  # fmt: skip
CODES = [
    "00501",
    "501",
    "0501",
    "1E5",
    "100000",
    "1e5",
    "1.10",
    "1.1",
    "+49",
    "49",
    "-0",
    "0",
    "1.",
    ".5",
]
INTEGERS = ["1", "2", "3", "-7", "0", "10", "100", "9007199254740993", "9007199254740992"]
LARGE = [
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "12345678901234567890",
    "12345678901234567891", "1" * 38, "9" * 38, "-" + "9" * 38, "1" * 39, "1" * 40, "1" * 400,
]  # fmt: skip
USUAL = ["1.5", "0.5", "-2.25", "0.1", "3.25"]
USUAL_WHOLE = ["1.0", "2.0", "-3.0", "0.0", "-0.0"]
NUMBERS = [
    " 7 ",
    "\t8",
    "1.10",
    "1.1",
    "+4",
    "007",
    "-0",
    ".5",
    "5.",
    "1E2",
    "1e-3",
    "1e400",
    "1e-400",
    "0.30",
]
FINE = [
    "1.000000000000000001",
    "1.000000000000000002",
    "1.0",
    "0.10000000000000000555",
    "0.1",
    "-3.0000000000000000001",
    "0.50",
]
MONEY = [
    "1,234.50",
    "1.234,50",
    "12.5",
    "12,5",
    "1 234",
    "1,234",
    "1.234",
    "1'234",
    "1234",
    "0,5",
    "1,23",
    "12,345,678",
]
DATES = [
    "2024-01-31",
    "2024-02-29",
    "1969-12-31",
    "2023-12-31",
    "2024-12-30",
    "0001-01-01",
    "9999-12-31",
]
MOMENTS = [
    "2024-01-31T12:34:56", "2024-01-31 12:34", "2024-01-31T12:34:56.5",
    "2024-01-31T12:34:56.000001Z",
    "2024-03-31T02:30:00+02:00", "2024-01-01T00:30:00+01:00", "1969-12-31 23:59:59.999999",
    "2024-02-29",
    "2024-12-31T23:00:00-05:30",
]  # fmt: skip
NOT_DATES = [
    "01/02/2024",
    "2024-02-30",
    "2024-1-1",
    "2024-13-01",
    "20240131",
    "31.01.2024",
    "2024-01-31T25:00",
]
POOLS: dict[str, list[str]] = {
    "words": WORDS, "codes": CODES, "integers": INTEGERS, "large": LARGE, "usual": USUAL,
    "usual whole": USUAL_WHOLE, "numbers": NUMBERS, "fine": FINE, "money": MONEY, "dates": DATES,
    "moments": MOMENTS,
    "booleans": ["true", "false"], "mixed usual": ["1", "2", "0.5", "1.5", "-3"],
}  # fmt: skip
NUMERIC = {"codes", "integers", "large", "usual", "usual whole", "numbers", "fine", "mixed usual"}
TYPES = {
    "integers": ["integer", "number", "text", "decimal(20,2)"],
    "large": ["integer", "decimal(38,0)", "text"],
    "usual": ["number", "decimal(10,6)", "text"],
    "mixed usual": ["number", "decimal(3,1)"],
    "numbers": ["number", "decimal(10,2)"],
    "fine": ["number", "decimal(38,20)", "text"],
    "codes": ["text", "number"],
    "money": ["number", "integer", "decimal(12,2)", "text"],
    "booleans": ["boolean", "text"],
    "dates": ["date", "datetime", "text"],
    "moments": ["datetime", "text"],
    "words": ["text"],
}
FIRST = datetime.fromisoformat("1930-01-01")
FORMATS = ["%d.%m.%Y", "%m/%d/%Y", "%Y%m%d", "%d %b %Y"]
TIME_FORMATS = ["%d.%m.%Y %H:%M", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S.%f", "%Y%m%d%H%M%S"]


@dataclass
class Csv:
    contents: list[bytes]
    options: dict[str, Any]
    pools: dict[str, str]


def _write(
    draw: st.DrawFn, rows: list[list[str]], separator: str, quote: str, comment: str | None
) -> str:
    ends = draw(st.sampled_from(["\n", "\n", "\r\n", "\r", None]))
    often = draw(st.sampled_from([0, 0, 1, 3]))
    lines = []
    for row in rows:
        fields = []
        for text in row:
            needed = quote != "none" and (
                any(mark in text for mark in (separator, "\n", "\r"))
                or text.startswith(quote)
                or (row is rows[0] and (not text or text.startswith(comment or "\n")))
            )
            field = text
            if needed or (quote != "none" and draw(st.integers(0, 9)) < often):
                field = quote + text.replace(quote, quote * 2) + quote
            elif quote == "none":
                field = text.replace(separator, "_").replace("\n", "_").replace("\r", "_")
            fields.append(field)
        line = separator.join(fields)
        lines.append(line + (ends or draw(st.sampled_from(["\n", "\r\n", "\r"]))))
        if draw(st.integers(0, 19)) == 0:
            lines.append(ends or "\n")
        if comment and draw(st.integers(0, 9)) == 0:
            lines.append(
                comment + draw(st.sampled_from(["", " note", 'a "', "a,b;c"])) + (ends or "\n")
            )
    text = "".join(lines)
    return text.rstrip("\r\n") if draw(st.integers(0, 4)) == 0 else text


@st.composite
def csv_files(draw: st.DrawFn) -> Csv:  # noqa: C901 - a branch per option
    options: dict[str, Any] = {}
    separator = draw(st.sampled_from([",", ",", ",", ";", "\t", "|"]))
    if separator != "," or draw(st.booleans()):
        options["separator"] = separator
    quote = draw(st.sampled_from(['"', '"', '"', '"', "'", "none"]))
    if quote != '"':
        options["quote"] = quote
    comment = draw(st.sampled_from([None, None, None, "#", "!"]))
    if comment:
        options["comment"] = comment
    if nulls := draw(st.sampled_from([[], [], ["NA"], ["-", "null"], ["1"], [""], ["NA", " "]])):
        options["null_values"] = nulls
    point, thousands = draw(
        st.sampled_from(
            [(".", None)] * 5 + [(",", None), (",", "."), (".", ","), (".", "'"), (",", " ")]
        )
    )
    if point != ".":
        options["decimal_separator"] = point
    if thousands:
        options["thousands_separator"] = thousands
    if draw(st.integers(0, 3)) == 0:
        options["on_error"] = "skip"
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    encoding = draw(st.sampled_from(["utf-8"] * 6 + ["latin-1", "cp1252", "utf-16"]))
    if encoding != "utf-8":
        options["encoding"] = encoding
    if quote == "none" or encoding in ("latin-1", "cp1252"):
        names = [f"n{n}" for n in range(len(names))]

    pools = {name: draw(st.sampled_from(list(POOLS))) for name in names}
    poison = draw(st.sampled_from([0, 0, 0, 1]))
    moment_formats: dict[str, str] = {}
    types: dict[str, Any] = {}
    for name, pool in pools.items():
        if pool in TYPES and draw(st.integers(0, 2)) == 0:
            types[name] = draw(st.sampled_from(TYPES[pool]))
        elif pool in ("dates", "moments") and draw(st.booleans()):
            kind = "date" if pool == "dates" else "datetime"
            layout = draw(st.sampled_from(FORMATS if pool == "dates" else TIME_FORMATS))
            types[name] = {"type": kind, "format": layout}
            moment_formats[name] = layout
    if types:
        options["types"] = types

    def cell(name: str) -> str:
        if draw(st.integers(0, 7)) == 0:
            return ""
        if poison and draw(st.integers(0, 15)) == 0:
            return draw(st.sampled_from(WORDS + CODES + NOT_DATES))
        if layout := moment_formats.get(name):
            days = draw(st.integers(0, 40000))
            return (FIRST + timedelta(days=days, minutes=days)).strftime(layout)
        return draw(st.sampled_from(POOLS[pools[name]]))

    skip_rows = draw(st.sampled_from([0, 0, 0, 1, 2]))
    if skip_rows:
        options["skip_rows"] = skip_rows
    bare = draw(st.integers(0, 4)) == 0
    if bare:
        options["column_names"] = names
    contents = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        count = draw(st.integers(1, 9))
        rows = [] if bare else [names]
        rows += [[cell(name) for name in names] for _ in range(count)]
        if poison and len(names) > 1 and draw(st.integers(0, 5)) == 0:
            rows.append(rows[-1][1:] if draw(st.booleans()) else [*rows[-1], "x"])
        text = _write(draw, rows, separator, quote, comment)
        text = "".join(f"title {n}\n" for n in range(skip_rows)) + text
        contents.append(_encode(draw, text, encoding))
    return Csv(contents, options, pools)


def _encode(draw: st.DrawFn, text: str, encoding: str) -> bytes:
    if encoding == "utf-16":
        big = draw(st.booleans())
        return (b"\xfe\xff" if big else b"\xff\xfe") + text.encode(
            "utf-16-be" if big else "utf-16-le"
        )
    content = text.encode(encoding, errors="replace")
    if encoding == "utf-8" and draw(st.integers(0, 5)) == 0:
        content = b"\xef\xbb\xbf" + content
    if draw(st.integers(0, 9)) == 0:
        half = len(content) // 2
        content = gzip.compress(content[:half]) + gzip.compress(content[half:])
    return content
