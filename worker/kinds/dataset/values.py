"""How the texts of a CSV file are read as values, in SQL.

DuckDB's own casts guess: they read `0x10`, `1_000` and `nan` as numbers, round `1.5` to an integer
and `2.345` to two places. Each function here returns an expression over a text `t`.
"""

import re

from worker.kinds.dataset.spec import CsvOptions, MomentFormat, directives

BLANKS = "[ \\t]*"
# SQL has no year 0.
YEAR = r"([1-9]\d{3}|0[1-9]\d{2}|00[1-9]\d|000[1-9])"
DATE = YEAR + r"-\d{2}-\d{2}"
TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d+)?)?"
ZONE = r"(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)"
# The years of four digits, in UTC.
CALENDAR = "TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"


# The digits and letters of strptime's directives.
DIRECTIVES = {
    "Y": YEAR,
    "y": r"\d{2}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "j": r"\d{1,3}",
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{1,2}",
    "S": r"\d{1,2}",
    "f": r"\d{1,6}",
    "p": "[AaPp][Mm]",
    "b": "[A-Za-z]{3}",
    "B": "[A-Za-z]{3,9}",
    "z": ZONE,
}
# %f, with nanoseconds.
FINE = r"\d{1,9}"
# Digits of the directives that may have fewer.
FULL_WIDTH = {"m": 2, "d": 2, "j": 3, "H": 2, "I": 2, "M": 2, "S": 2, "f": 6}

# Digits that each double keeps.
SAFE_DIGITS = 15

# Names of forms with the SQL condition of each.
Forms = dict[str, str]
# The form of the texts that fit no other.
OTHER = "other"


def literal(text: str) -> str:
    """A text as an SQL literal. Only for generated texts and single characters."""
    return "'" + text.replace("'", "''") + "'"


class Numbers:
    """Numbers with the separators that the options name."""

    def __init__(self, options: CsvOptions) -> None:
        self._point = options.decimal_separator
        self._group = options.thousands_separator
        point = f"[{self._point}]"
        whole = r"\d+"
        if self._group:
            whole = rf"(\d+|\d{{1,3}}([{self._group}]\d{{3}})+)"
        self._integer = f"{BLANKS}[+-]?{whole}{BLANKS}"
        self._decimal = rf"{BLANKS}[+-]?({whole}({point}\d*)?|{point}\d+)"
        self._number = rf"{self._decimal}([eE][+-]?\d+)?{BLANKS}"

    def plain(self, t: str) -> str:
        """The text without group separators, with a point. Casts pass over blanks themselves."""
        text = t
        if self._group:
            text = f"replace({text}, {literal(self._group)}, '')"
        return text if self._point == "." else f"replace({text}, {literal(self._point)}, '.')"

    def is_number(self, t: str) -> str:
        matches = _matches(t, self._number)
        return f"({matches} AND isfinite(TRY_CAST({self.plain(t)} AS DOUBLE)))"

    def is_integer(self, t: str) -> str:
        """Whether it is an integer of at most 128 bits."""
        matches = _matches(t, self._integer)
        return f"({matches} AND TRY_CAST({self.plain(t)} AS HUGEINT) IS NOT NULL)"

    def forms(self, t: str) -> Forms:
        matches = _matches(t, self._integer)
        long = f"({matches} AND TRY_CAST({self.plain(t)} AS BIGINT) IS NOT NULL)"
        number = f"TRY_CAST({self.plain(t)} AS DOUBLE)"
        decimal = _matches(t, self._decimal + BLANKS)
        wide = f"({decimal} AND isfinite({number}) AND abs({number}) >= {2**53})"
        usual = f"coalesce({_is_usual_float(self.plain(t))}, false)"
        return {
            # The usual form needs no pattern.
            "small": f"({_is_usual_integer(t)} AND {_is_small(f'TRY_CAST({t} AS BIGINT)')})",
            "short": f"({long} AND {_is_small(f'TRY_CAST({self.plain(t)} AS BIGINT)')})",
            "long": long,
            "integer": self.is_integer(t),
            # A double may not keep its digits.
            "wide": f"({wide} AND NOT coalesce({_is_usual_float(t)}, false))",
            # Its digits may be more than a double keeps, which the sums of a column don't need.
            "digits": f"CASE WHEN length(trim({t})) > {SAFE_DIGITS} "
            f"THEN {decimal} AND isfinite({number}) AND NOT {usual} ELSE false END",
            "exponent": f"CASE WHEN contains(lower({t}), 'e') THEN {self.is_number(t)} "
            "ELSE false END",
            "number": self.is_number(t),
        }

    def is_decimal(self, t: str, digits: int, scale: int) -> str:
        point = f"[{self._point}]"
        places = rf"[^{self._point}]*({point}\d{{0,{scale}}}0*)?{BLANKS}"
        return (
            f"({_matches(t, self._decimal + BLANKS)} AND {_matches(t, places)} "
            f"AND TRY_CAST({self.plain(t)} AS DECIMAL({digits},{scale})) IS NOT NULL)"
        )


def _matches(t: str, pattern: str) -> str:
    return f"regexp_full_match({t}, {literal(pattern)})"


def is_true_or_false(t: str) -> str:
    return f"(lower({t}) IN ('true', 'false'))"


def is_date(t: str) -> str:
    return f"({_matches(t, DATE)} AND TRY_CAST({t} AS DATE) IS NOT NULL)"


def is_moment(t: str) -> str:
    """Whether it is a date, or a date and a time, by ISO 8601."""
    pattern = f"{DATE}([T ]{TIME}{ZONE}?)?"
    return f"({_matches(t, pattern)} AND TRY_CAST({t} AS TIMESTAMPTZ) BETWEEN {CALENDAR})"


def is_fine(t: str, digits: int = 6) -> str:
    """Whether a time by ISO 8601 has more than so many digits of a second."""
    return f"regexp_matches({t}, '[.][0-9]{{{digits}}}0*[1-9]')"


def as_moment(t: str) -> str:
    """The time in UTC, to the microsecond below."""
    return f"(TRY_CAST({t} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"


def as_nanoseconds(t: str) -> str:
    """The time in UTC, null where it is beyond the range of TIMESTAMP_NS."""
    return f"(TRY_CAST({t} AS TIMESTAMPTZ_NS) AT TIME ZONE 'UTC')"


def exact_moment(t: str) -> str:
    """The time in UTC and the digits of its second behind the sixth, which compare as it does."""
    rest = f"rtrim(substr(regexp_extract({t}, '[.]([0-9]*)', 1), 7), '0')"
    return f"CASE WHEN {t} IS NOT NULL THEN row({as_moment(t)}, {rest}) END"


def formatted(t: str, moment: MomentFormat, *, fine: bool = False) -> str:
    """The date or time in UTC, null where the text is of another format.

    `fine` reads up to nine digits of a second, as TIMESTAMP_NS.
    """
    pattern, format_ = _format_pattern(moment.format), moment.format
    if fine:
        pattern = pattern.replace(DIRECTIVES["f"], FINE)
        format_ = _with_nanoseconds(format_)
    # DuckDB's %z does not accept Z.
    text = f"regexp_replace({t}, 'Z$', '+00')" if "z" in directives(moment.format) else t
    zoned = "TIMESTAMPTZ_NS" if fine else "TIMESTAMPTZ"
    parsed = f"CAST(try_strptime({text}, {literal(format_)}) AS {zoned})"
    type_ = "TIMESTAMP_NS" if fine else "DATE" if moment.type == "date" else "TIMESTAMP"
    # DuckDB's strptime accepts a year of one digit, and blanks at the end.
    of_format = _matches(t, pattern)
    if "z" in directives(moment.format) and not fine:
        of_format += f" AND {parsed} BETWEEN {CALENDAR}"
    return f"CASE WHEN {of_format} THEN CAST(({parsed} AT TIME ZONE 'UTC') AS {type_}) END"


def _with_nanoseconds(format_: str) -> str:
    """The format with DuckDB's directive of up to nine digits, %n, in the place of %f."""
    return "".join("%n" if part == "%f" else part for part in re.split("(%.)", format_))


def _format_pattern(format_: str) -> str:
    parts = [part for part in re.split("(%.)", format_) if part]
    patterns = []
    for n, part in enumerate(parts):
        letter = part[1:] if part.startswith("%") else ""
        after = n + 1 < len(parts) and _is_digit(parts[n + 1], 0)
        before = n > 0 and letter != "f" and _is_digit(parts[n - 1], -1)
        if letter in FULL_WIDTH and (before or after):
            # A text that has lost a zero could be read in several ways.
            patterns.append(rf"\d{{{FULL_WIDTH[letter]}}}")
        elif letter:
            patterns.append(DIRECTIVES.get(letter, "%"))
        else:
            patterns.append(re.escape(part))
    return "".join(patterns)


def _is_digit(part: str, place: int) -> bool:
    """Whether a part of a format has a digit at its beginning (0) or its end (-1)."""
    if part.startswith("%"):
        return part[1:] in FULL_WIDTH or part[1:] in ("Y", "y")
    return part[place].isdigit()


def place(forms: Forms) -> str:
    """The index of the first form that a text matches; null for a null."""
    cases = " ".join(f"WHEN {holds} THEN {n}" for n, holds in enumerate(forms.values()))
    return f"CASE {cases} END"


def _is_small(integer: str) -> str:
    """Whether a double holds an integer and its neighbours (RFC 8259, section 6)."""
    return f"({integer} BETWEEN {1 - 2**53} AND {2**53 - 1})"


def _is_usual_float(t: str) -> str:
    return (
        f"(CAST(TRY_CAST({t} AS DOUBLE) AS VARCHAR) = {t} AND isfinite(TRY_CAST({t} AS DOUBLE)) "
        f"AND {t} <> '-0.0' AND NOT contains({t}, 'e'))"
    )


def _is_usual_integer(t: str) -> str:
    return f"(CAST(TRY_CAST({t} AS BIGINT) AS VARCHAR) = {t})"


def key_forms(t: str, point: str) -> Forms:
    """The forms in which a value is usually written, from which its text can be told.

    With another decimal separator than the usual `point`, only integers are written in theirs.
    """
    fractions = {
        "whole": f"({_is_usual_float(t)} AND ends_with({t}, '.0'))",
        "fraction": _is_usual_float(t),
    }
    none = dict.fromkeys(fractions, "false")
    return {
        "boolean": f"({t} IN ('true', 'false'))",
        # Letters come after digits.
        "word": f"({t} >= ':')",
        "small": f"({_is_usual_integer(t)} AND {_is_small(f'TRY_CAST({t} AS BIGINT)')})",
        "integer": _is_usual_integer(t),
        **(fractions if point == "." else none),
    }
