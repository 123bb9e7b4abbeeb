"""How the texts of a CSV file are read as values, in SQL.

DuckDB's own casts guess: they read `0x10`, `1_000` and `nan` as numbers, round `1.5` to an integer
and `2.345` to two places. Each function here returns an expression over a text `t`.
"""

from worker.kinds.dataset.spec import CsvOptions, MomentFormat

BLANKS = "[ \\t]*"
DATE = r"\d{4}-\d{2}-\d{2}"
TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,6}0*)?)?"
ZONE = r"(Z|[+-]\d{2}(:?\d{2})?)?"


def literal(text: str) -> str:
    """A text as an SQL literal. Only for texts of our own and for single characters."""
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
        """The text without blanks and group separators, with a point."""
        text = f"trim({t}, ' \t')"
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

    def is_long(self, t: str) -> str:
        """Whether it is an integer of at most 64 bits."""
        return f"({_matches(t, self._integer)} AND TRY_CAST({self.plain(t)} AS BIGINT) IS NOT NULL)"

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
    pattern = f"{DATE}([T ]{TIME}{ZONE})?"
    return f"({_matches(t, pattern)} AND TRY_CAST({t} AS TIMESTAMPTZ) IS NOT NULL)"


def as_moment(t: str) -> str:
    """The time in UTC."""
    return f"(CAST({t} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"


def formatted(t: str, moment: MomentFormat) -> str:
    """The date or time in UTC, null where the text is of another format."""
    parsed = f"CAST(try_strptime({t}, {literal(moment.format)}) AS TIMESTAMPTZ)"
    return (
        f"CAST(({parsed} AT TIME ZONE 'UTC') AS {'DATE' if moment.type == 'date' else 'TIMESTAMP'})"
    )


# --- the usual form of a value, from which its text can be told ---------------------------------


def is_usual_integer(t: str) -> str:
    return f"(CAST(TRY_CAST({t} AS BIGINT) AS VARCHAR) = {t})"


def is_usual_small_integer(t: str) -> str:
    """Whether it is an integer that a double holds exactly (RFC 8259, section 6)."""
    return f"({is_usual_integer(t)} AND abs(TRY_CAST({t} AS BIGINT)) < {2**53})"


def is_usual_float(t: str) -> str:
    return (
        f"(CAST(TRY_CAST({t} AS DOUBLE) AS VARCHAR) = {t} AND isfinite(TRY_CAST({t} AS DOUBLE)) "
        f"AND {t} <> '-0.0' AND NOT contains({t}, 'e'))"
    )


def is_usual_boolean(t: str) -> str:
    return f"({t} IN ('true', 'false'))"
