"""The header of a CSV file: the separator, the names of the columns, and faults in them."""

import io
from collections.abc import Iterator

from app.jobs import JobError
from worker.kinds.dataset.csv_lines import Record, records
from worker.kinds.dataset.spec import MAX_COLUMNS, CsvOptions

# Characters in which the separator and the header are looked for.
SAMPLE = 1 << 20
SAMPLE_RECORDS = 100
SEPARATORS = (",", ";", "\t", "|")


class Head:
    """The first lines of a file, in which the header and the separator are found."""

    def __init__(self, sample: str, quote: str, options: CsvOptions) -> None:
        self._sample, self._quote, self._options = sample, quote, options
        self._cut = len(sample) == SAMPLE

    def separator(self) -> str:
        """The separator that splits the header and the first rows alike into most fields."""
        numeric = (self._options.decimal_separator, self._options.thousands_separator)
        # Prefer a separator that does not occur inside numbers.
        marks = sorted(SEPARATORS, key=lambda mark: mark in numeric)
        candidates = {mark: self._widths(mark) for mark in marks}
        alike = {
            mark: widths[0]
            for mark, (widths, whole) in candidates.items()
            if whole and len(set(widths)) == 1
        }
        names = self._options.column_names
        fitting = [mark for mark in alike if names and alike[mark] == len(names)]
        if fitting:
            return fitting[0]
        outside = [mark for mark in alike if mark not in numeric and alike[mark] > 1]
        best = max(outside or alike, key=lambda mark: alike[mark], default=",")
        if alike.get(best, 1) > 1:
            return best
        return max(marks, key=lambda mark: max(candidates[mark][0][:1], default=0))

    def _widths(self, mark: str) -> tuple[list[int], bool]:
        """The fields of each of the first rows, and whether all of these could be split."""
        widths: list[int] = []
        try:
            for record in self._records(mark):
                widths.append(len(record.fields))
                if len(widths) == SAMPLE_RECORDS:
                    return widths, True
        except JobError:
            # Where the sample is cut, a quoted field may be open.
            return widths, self._cut
        # The last record may be cut.
        return widths[:-1] if self._cut and len(widths) > 1 else widths, True

    def _records(self, separator: str) -> Iterator[Record]:
        lines = io.StringIO(self._sample, newline="")
        skipped = self._options.skip_rows
        for _ in range(skipped):
            lines.readline()
        return records(lines, skipped + 1, separator, self._quote, self._options.comment)

    def header(self, separator: str) -> tuple[list[str], int, bool]:
        """The columns, the first line after the header, and whether DuckDB can count up to it."""
        skipped = self._options.skip_rows
        names = self._options.column_names
        body = skipped + 1
        simple = True
        if names is None:
            record = next(self._records(separator), None)
            if record is None:
                raise JobError("file-empty", "The file has no header: its lines are all blank.")
            names, body = record.fields, record.last_line + 1
            simple = record.first_line == record.last_line
            check_names(names)
        lines = io.StringIO(self._sample, newline="")
        before = "".join(lines.readline() for _ in range(skipped))
        return names, body, simple and not (self._quote and self._quote in before)


def check_names(names: list[str]) -> None:
    if any("\0" in name for name in names):
        raise JobError(
            "csv-encoding", "Line 1 holds NUL characters: if the file is UTF-16, set csv.encoding."
        )
    if names[0].startswith("\ufeff"):
        raise JobError(
            "csv-encoding", "The file begins with two byte order marks: remove one of them."
        )
    if len(names) > MAX_COLUMNS:
        raise JobError(
            "csv-header",
            f"The header has {len(names):,} columns, and at most {MAX_COLUMNS:,} are accepted: "
            "remove columns, check csv.separator, or send a Parquet file.",
        )


def reject_twins(columns: list[str], used: set[str]) -> None:
    """Refuse a name that two columns have, if the specification uses it."""
    twice = [name for name in used if columns.count(name) > 1]
    if twice:
        raise JobError(
            "csv-header",
            f"The header has several columns named {twice[0][:80]!r}: give each a name of its own, "
            "or list csv.column_names if the file has no header row.",
        )


def same_columns(columns: list[str], others: list[str], used: set[str]) -> None:
    # A separator at the end of each line makes a column without a name.
    if "" not in used:
        columns, others = list(filter(None, columns)), list(filter(None, others))
    if missing := [name for name in columns if name not in others]:
        raise JobError(
            "sources-differ",
            f"The file has no column {missing[0]!r}, which the first file has: all sources need "
            "the same columns.",
        )
    if extra := [name for name in others if name not in columns]:
        raise JobError(
            "sources-differ",
            f"The file has a column {extra[0]!r}, which the first file lacks: all sources need "
            "the same columns.",
        )
