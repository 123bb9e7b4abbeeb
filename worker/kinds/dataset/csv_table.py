"""CSV files as one table, and the types that a column's texts have for each use."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from app.jobs import JobContext, JobError
from worker.kinds.dataset import digits, values
from worker.kinds.dataset.columns import (
    EXACT_MOMENT,
    Use,
    Value,
    check_known,
    typed,
    unknown_column,
    uses,
)
from worker.kinds.dataset.csv_blocks import MAX_RECORD
from worker.kinds.dataset.csv_head import reject_twins, same_columns
from worker.kinds.dataset.csv_lines import SKIPPED_SHOWN, ragged
from worker.kinds.dataset.csv_text import CsvText
from worker.kinds.dataset.engine import Engine
from worker.kinds.dataset.faults import named
from worker.kinds.dataset.moments import LIMITS, Moments, moments
from worker.kinds.dataset.result import SkippedRow
from worker.kinds.dataset.spec import DatasetAggregate, MomentFormat

SHOWN_CHARACTERS = 80
NO_HEADER = " (A file without a header row needs csv.column_names.)"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A condition in SQL that every text of a column must fulfil for one use."""

    question: str
    holds: str
    wanted: str
    remedy: str
    # Forms of texts that break it.
    broken_by: tuple[str, ...] = (values.OTHER,)


class CsvTable:
    hint = " (see csv.types)"

    def __init__(
        self,
        texts: list[CsvText],
        spec: DatasetAggregate,
        engine: Engine,
        job: JobContext,
    ) -> None:
        self._texts, self._options, self._uses = texts, spec.csv, uses(spec)
        self._engine, self._job = engine, job
        self._fails = spec.csv.on_error == "fail"
        self._numbers = values.Numbers(spec.csv)
        self.columns = texts[0].columns
        for index, text in enumerate(texts):
            with named(index, len(texts)):
                same_columns(self.columns, text.columns, {*self._uses})
        for name in spec.csv.types:
            if name not in self.columns:
                raise unknown_column(name, self.columns, "csv.types", NO_HEADER)
        check_known(spec, self.columns, NO_HEADER)
        for text in texts:
            reject_twins(text.columns, {*self._uses, *spec.csv.types})
        self.skipped = 0
        self.skipped_rows: list[SkippedRow] = []
        self._counts: dict[str, dict[str, int]] = {}
        self._sql = {name: f"c{index}" for index, name in enumerate(self.columns)}
        self.source = ""
        self.rows = 0

    # --- reading ---------------------------------------------------------------------------------

    def read(self, start: float, end: float) -> None:
        """Read all rows once: count them, find their faults and the forms of their texts.

        Raises `JobError`: `csv-ragged`, `csv-quote`, `csv-value`, `file-empty`.
        """
        import duckdb

        source = " UNION ALL ".join(map(self._scan, self._texts))
        try:
            self._look(source, start, end)
        except duckdb.InvalidInputException:
            for index, text in enumerate(self._texts):
                with named(index, len(self._texts)):
                    if fault := text.fault(self._job.check):
                        raise fault from None
            raise
        self._note_skipped()
        rules = self._rules()
        broken = [name for name, rule in rules if self._broken(name, rule)]
        if broken:
            faults = [self._fault(name, rule) for name, rule in rules if name in broken]
            self._report_values(source, [(n, r) for n, r in rules if n in broken])
            source = f"SELECT * FROM ({source}) WHERE NOT ({' OR '.join(faults)})"
            self._look(source, end, end)
        self.skipped_rows = self.skipped_rows[:SKIPPED_SHOWN]
        if self.rows == 0 and not self.skipped:
            raise JobError("file-empty", "The CSV file has a header but no rows.")
        self.source = source

    def _scan(self, text: CsvText) -> str:
        # Only a quoted field can hold a separator or a line end; DuckDB refuses such null values.
        quoted = [
            value
            for value in self._options.null_values
            if set(value) & {text.separator, "\n", "\r"}
        ]
        nulls = ["", *(value for value in self._options.null_values if value not in quoted)]
        columns = ", ".join(f"'f{n}': 'VARCHAR'" for n in range(text.width))
        options = {
            "columns": f"{{{columns}}}",
            "auto_detect": "false",
            "header": "false",
            "skip": str(text.body - 1),
            "delim": values.literal(text.separator),
            "quote": values.literal(text.quote),
            "escape": values.literal(text.quote),
            "comment": "''",
            "new_line": "'\\n'",
            "nullstr": "[" + ", ".join(map(values.literal, nulls)) + "]",
            "allow_quoted_nulls": str(self._options.quoted_nulls).lower(),
            "strict_mode": "true",
            "max_line_size": str(MAX_RECORD),
        }
        listed = ", ".join(f"{name} = {value}" for name, value in options.items())
        field = "f{}"
        if quoted and self._options.quoted_nulls:
            listed_nulls = ", ".join(map(values.literal, quoted))
            field = f"CASE WHEN f{{0}} NOT IN ({listed_nulls}) THEN f{{0}} END"
        wanted = ", ".join(
            f"{field.format(text.columns.index(name))} AS {column}"
            for name, column in self._sql.items()
            if name in self._uses
        )
        path = values.literal(str(text.path))
        return f"SELECT {wanted or 'f0'} FROM read_csv({path}, {listed})"

    def _look(self, source: str, start: float, end: float) -> None:
        """Count the rows, and the texts of each column by their form."""
        forms = {
            f"{question} {self._sql[name]}": form | {values.OTHER: f"{self._sql[name]} IS NOT NULL"}
            for name in self._uses
            for question, form in self._questions(name).items()
        }
        listed = ["count(*)"]
        for n, form in enumerate(forms.values()):
            listed += [f"count(*) FILTER (WHERE q{n} = {place})" for place in range(len(form))]
        asked = ", ".join(
            ["0", *(f"{values.place(form)} AS q{n}" for n, form in enumerate(forms.values()))]
        )
        sql = f"SELECT {', '.join(listed)} FROM (SELECT {asked} FROM ({source}))"
        (row,) = self._engine.run(sql, start=start, end=end, message="checking the rows")
        counts = iter(row)
        self.rows = next(counts)
        self._counts = {
            question: {name: next(counts) for name in form} for question, form in forms.items()
        }

    def _questions(self, name: str) -> dict[str, values.Forms]:
        """The forms by which the column's texts are counted; a text has the first that fits."""
        t, used = self._sql[name], self._uses[name]
        wanted = self._options.types.get(name, "")
        if isinstance(wanted, MomentFormat) or wanted == "datetime":
            return {"declared": moments(t, wanted).forms()}
        if declared := self._declared(name):
            return {"declared": {"valid": declared.holds}}
        asked: dict[str, values.Forms] = {}
        if used & {"key", "order", "sum"}:
            asked["key"] = values.key_forms(t, self._options.decimal_separator)
        if used & {"order", "text order", "number", "sum"}:
            asked["number"] = self._numbers.forms(t)
        if used & {"boolean", "sum"}:
            asked["boolean"] = {"boolean": values.is_true_or_false(t)}
        if used & {"moment", "moment order", "order"}:
            moment = values.is_moment(t)
            plain = f"({moment} AND NOT {values.is_fine(t)})"
            asked["moment"] = {"date": values.is_date(t), "moment": plain, "fine": moment}
        return asked

    def _all(self, name: str, question: str, *forms: str) -> bool:
        """Whether the column has texts, and each is of one of these forms."""
        counts = self._counts[f"{question} {self._sql[name]}"]
        held = sum(counts[form] for form in forms)
        return held > 0 and held == sum(counts.values())

    # --- faults ----------------------------------------------------------------------------------

    def _rules(self) -> list[tuple[str, _Rule]]:
        return [(name, rule) for name in self._uses for rule in self._rules_of(name)]

    def _rules_of(self, name: str) -> Iterator[_Rule]:
        t, used = self._sql[name], self._uses[name]
        if declared := self._declared(name):
            yield declared
            return
        if self._sums_booleans(name):
            yield _Rule(
                "boolean",
                values.is_true_or_false(t),
                "true or false",
                "add it to csv.null_values if it means null, or declare the type in csv.types",
            )
        elif used & {"number", "sum"}:
            yield _Rule(
                "number",
                self._numbers.is_number(t),
                "a number",
                "add it to csv.null_values if it means null, or check csv.decimal_separator and "
                "csv.thousands_separator",
            )
        if "boolean" in used:
            yield _Rule(
                "boolean",
                values.is_true_or_false(t),
                "true or false",
                "compare the column with a text, or add the value to csv.null_values",
            )
        if "moment" in used or ("moment order" in used and self._reads_moments(name)):
            as_text = ", declare the column as text" if "moment order" in used else ""
            yield _Rule(
                "moment",
                values.is_moment(t),
                "a date or time by ISO 8601 (2013-12-31T23:59:00Z)",
                f"give its format in csv.types{as_text}, or add it to csv.null_values",
            )

    def _reads_moments(self, name: str) -> bool:
        """Whether texts that are not times are faults of their rows, not of the whole column."""
        counts = self._counts[f"moment {self._sql[name]}"]
        return self._fails or counts[values.OTHER] < sum(counts.values())

    def _declared(self, name: str) -> _Rule | None:
        """The rule of a column whose type the specification gives."""
        t, declared = self._sql[name], self._options.types.get(name)
        if declared is None or declared == "text":
            return None if declared is None else _Rule("declared", "true", "a text", "")
        if isinstance(declared, MomentFormat) or declared == "datetime":
            return self._declared_moments(t, moments(t, declared))
        remedy = "correct csv.types, or add the value to csv.null_values if it means null"
        numbers = self._numbers
        if declared.startswith("decimal"):
            found = typed(t, declared.upper())
            precision = len(str(found.high))
            return _Rule(
                "declared", numbers.is_decimal(t, precision, found.scale), f"a {declared}", remedy
            )
        holds, wanted = {
            "integer": (numbers.is_integer(t), "an integer"),
            "number": (numbers.is_number(t), "a number"),
            "boolean": (values.is_true_or_false(t), "true or false"),
            "date": (values.is_date(t), "a date by ISO 8601 (2013-12-31)"),
        }[declared]
        if declared == "date":
            remedy = "or give its format in csv.types, as {'type': 'date', 'format': '%d.%m.%Y'}"
        return _Rule("declared", holds, wanted, remedy)

    def _declared_moments(self, t: str, times: Moments) -> _Rule:
        counts = self._counts[f"declared {t}"]
        wanted, remedy, broken_by = times.wanted, times.remedy, [values.OTHER]
        if counts["fine"] or counts["beyond"]:
            wanted += f" {LIMITS}"
            remedy = "or add it to csv.null_values if it means null"
            broken_by += ["beyond"]
        read = times.microseconds
        if counts["fine"]:
            read = times.nanoseconds
            broken_by += ["far"]
        return _Rule("declared", f"({read} IS NOT NULL)", wanted, remedy, tuple(broken_by))

    def _fault(self, name: str, rule: _Rule) -> str:
        """Whether a text breaks the rule, in SQL."""
        return f"({self._sql[name]} IS NOT NULL AND NOT coalesce({rule.holds}, false))"

    def _broken(self, name: str, rule: _Rule) -> bool:
        """Whether a text of the column breaks the rule, by what was counted."""
        counts = self._counts[f"{rule.question} {self._sql[name]}"]
        return any(counts[form] for form in rule.broken_by)

    def _note_skipped(self) -> None:
        """Record the rows with a wrong number of fields, which the rewriter has removed."""
        for index, text in enumerate(self._texts):
            self.skipped += text.skipped
            for line, found in text.first_skipped:
                fault = ragged(line, found, len(text.columns), text.separator)
                self.skipped_rows.append(
                    SkippedRow(source=index + 1, line=line, reason=fault.detail)
                )

    def _report_values(self, source: str, rules: list[tuple[str, _Rule]]) -> None:
        faults = " OR ".join(self._fault(name, rule) for name, rule in rules)
        asked = ", ".join(f"{self._fault(name, rule)}, {self._sql[name]}" for name, rule in rules)
        limit = 1 if self._fails else SKIPPED_SHOWN
        sql = (
            f"SELECT row_number, {asked} FROM "
            f"(SELECT row_number() OVER () AS row_number, * FROM ({source})) "
            f"WHERE {faults} ORDER BY row_number LIMIT {limit}"
        )
        rows = self._engine.run(sql)
        places = self._places([row[0] for row in rows])
        for row, (index, line) in zip(rows, places, strict=True):
            name, rule, value = next(
                (name, rule, row[2 * n + 2])
                for n, (name, rule) in enumerate(rules)
                if row[2 * n + 1]
            )
            where = f"line {line:,}" if line else f"row {row[0]:,}"
            shown = value[:SHOWN_CHARACTERS]
            remedy = rule.remedy
            if value in ("", *self._options.null_values):
                remedy = "or set csv.quoted_nulls if it means null although it is quoted"
            if self._fails:
                with named(index, len(self._texts) if line else 1):
                    raise JobError(
                        "csv-value",
                        f"Column {name!r} holds {shown!r} in {where}, where {rule.wanted} is "
                        f"expected: correct the value, {remedy}.",
                    )
            self.skipped_rows.append(
                SkippedRow(
                    source=index + 1,
                    line=line,
                    column=name,
                    reason=f"{shown!r} is not {rule.wanted}.",
                )
            )
        self.skipped_rows = sorted(self.skipped_rows, key=lambda row: (row.source, row.line))
        self.skipped_rows = self.skipped_rows[:SKIPPED_SHOWN]
        (bad,) = self._engine.run(f"SELECT count(*) FROM ({source}) WHERE {faults}")[0]
        self.skipped += bad

    def _places(self, numbers: list[int]) -> list[tuple[int, int]]:
        """Source and line of rows, given by their numbers from 1 in ascending order.

        The line is 0 where Python's reader finds fewer rows than DuckDB's.
        """
        places: list[tuple[int, int]] = []
        before = 0
        with suppress(JobError):
            for index, text in enumerate(self._texts):
                wanted = [number - before for number in numbers[len(places) :]]
                lines, rows = text.lines_of(wanted, self._job.check)
                places += [(index, line) for line in lines]
                before += rows
                if len(places) == len(numbers):
                    break
        return places + [(0, 0)] * (len(numbers) - len(places))

    # --- what a query reads ----------------------------------------------------------------------

    def value(self, name: str, use: Use) -> Value:
        t, declared = self._sql[name], self._options.types.get(name)
        if use == "null":
            return Value(t, "text", "VARCHAR")
        if declared is not None:
            return self._typed(t, declared)
        return self._guessed(name, use)

    def _guessed(self, name: str, use: Use) -> Value:
        """A column whose type the specification does not give."""
        t = self._sql[name]
        match use:
            case "number" | "sum":
                if use == "sum" and self._sums_booleans(name):
                    return typed(f"TRY_CAST({t} AS BOOLEAN)", "BOOLEAN")
                return self._number(name)
            case "boolean":
                return typed(f"TRY_CAST({t} AS BOOLEAN)", "BOOLEAN")
            case "moment":
                if self._all(name, "moment", "date"):
                    return typed(f"TRY_CAST({t} AS DATE)", "DATE")
                return typed(values.as_moment(t), "TIMESTAMP")
            case "moment order":
                return self._ordered_moment(name)
            case "text order" if self._all(name, "number", *self._numbers.forms("")):
                raise JobError(
                    "column-type",
                    f"Column {name!r} holds numbers: compare it with a number, or declare it in "
                    "csv.types as integer, decimal(p,s) or text.",
                )
            case "key":
                return self._key(name)
        return typed(t, "VARCHAR")

    def _ordered_moment(self, name: str) -> Value:
        t = self._sql[name]
        if self._all(name, "moment", "date", "moment", "fine"):
            return self._exact_moment(name)
        if any(self._counts[f"moment {t}"].values()):
            raise JobError(
                "column-type",
                f"Column {name!r} is compared with a date, but holds text that is not an ISO 8601 "
                "date: give its format in csv.types, or declare it as text.",
            )
        return typed(t, "VARCHAR")

    def _exact_moment(self, name: str) -> Value:
        """The times of a column of which each text is one, for comparisons."""
        t = self._sql[name]
        if self._counts[f"moment {t}"]["fine"]:
            return Value(values.exact_moment(t), "datetime", EXACT_MOMENT)
        return typed(values.as_moment(t), "TIMESTAMP")

    def extreme(self, name: str, op: str) -> Value:
        t = self._sql[name]
        key = self.value(name, "key") if name in self._options.types else self._key(name)
        if (
            key.type == "VARCHAR"
            and name not in self._options.types
            and self._all(name, "number", *self._numbers.forms(""))
        ):
            return Value(f"arg_{op}({t}, {self._number_order(name)})", "text", "VARCHAR")
        if name not in self._options.types and self._all(name, "moment", "date", "moment", "fine"):
            moment = self._exact_moment(name)
            return Value(f"arg_{op}({t}, {moment.sql})", "text", "VARCHAR")
        return Value(f"{op}({key.sql})", key.kind, key.type)

    def sorted_by(self, name: str, column: str) -> list[str]:
        if name in self._options.types or self._key(name).type != "VARCHAR":
            return []
        numbers = f"bool_and(coalesce({self._numbers.is_number(column)}, {column} IS NULL)) OVER ()"
        moments = f"bool_and({column} IS NULL OR {values.is_moment(column)}) OVER ()"
        return [
            f"CASE WHEN {numbers} THEN {digits.order(self._numbers.plain(column))} END",
            f"CASE WHEN {moments} THEN {values.exact_moment(column)} END",
        ]

    def _sums_booleans(self, name: str) -> bool:
        """Whether a sum is one of booleans, of which the column has some, and no number."""
        if self._uses[name] & {"number", "sum"} != {"sum"}:
            return False
        t = self._sql[name]
        numbers = self._counts[f"number {t}"]
        found = any(count for form, count in numbers.items() if form != values.OTHER)
        return not found and self._counts[f"boolean {t}"]["boolean"] > 0

    def _key(self, name: str) -> Value:
        """The type whose values, written in their usual form, are the column's texts."""
        t = self._sql[name]
        if self._all(name, "key", "boolean"):
            return typed(f"TRY_CAST({t} AS BOOLEAN)", "BOOLEAN")
        if self._all(name, "key", "small", "integer"):
            return typed(f"TRY_CAST({t} AS BIGINT)", "BIGINT")
        if self._all(name, "key", "small", "fraction") or self._all(
            name, "key", "whole", "fraction"
        ):
            return typed(f"TRY_CAST({t} AS DOUBLE)", "DOUBLE")
        return typed(t, "VARCHAR")

    def _number(self, name: str) -> Value:
        plain = self._numbers.plain(self._sql[name])
        if (integer := self._integer(name)) is not None:
            return integer
        counts = self._counts[f"number {self._sql[name]}"]
        if counts["long"] or counts["integer"] or counts["wide"]:
            raise JobError(
                "column-type",
                f"Column {name!r} holds numbers beyond {2**53:,} that are not all integers of 128 "
                "bits, and double precision can't represent them exactly: declare it in csv.types "
                "as decimal(p,s), of at most 38 digits, or as number to accept rounding.",
            )
        number = self._double(plain)
        return replace(number, rounds=counts["digits"] > 0)

    def _integer(self, name: str) -> Value | None:
        plain = self._numbers.plain(self._sql[name])
        if self._all(name, "number", "small", "short"):
            integer = typed(f"TRY_CAST({plain} AS BIGINT)", "BIGINT")
            return replace(integer, low=1 - 2**53, high=2**53 - 1)
        if self._all(name, "number", "small", "short", "long"):
            return typed(f"TRY_CAST({plain} AS BIGINT)", "BIGINT")
        if self._all(name, "number", "small", "short", "long", "integer"):
            return typed(f"TRY_CAST({plain} AS HUGEINT)", "HUGEINT")
        return None

    def _number_order(self, name: str) -> str:
        """An expression that has the order of the column's numbers."""
        if (integer := self._integer(name)) is not None:
            return integer.sql
        number = self._double(self._numbers.plain(self._sql[name]))
        counts = self._counts[f"number {self._sql[name]}"]
        many = ("long", "integer", "wide", "digits", "exponent")
        return number.exact if any(counts[form] for form in many) else number.sql

    def _double(self, plain: str) -> Value:
        double = typed(f"TRY_CAST({plain} AS DOUBLE)", "DOUBLE")
        return replace(double, exact=digits.order(plain))

    def _typed(self, t: str, declared: str | MomentFormat) -> Value:
        if isinstance(declared, MomentFormat) or declared == "datetime":
            times = moments(t, declared)
            if self._counts[f"declared {t}"]["fine"]:
                return typed(times.nanoseconds, "TIMESTAMP_NS")
            return typed(times.microseconds, times.type)
        plain = self._numbers.plain(t)
        match declared:
            case "integer":
                return typed(f"TRY_CAST({plain} AS HUGEINT)", "HUGEINT")
            case "number":
                return self._double(plain)
            case "boolean":
                return typed(f"TRY_CAST({t} AS BOOLEAN)", "BOOLEAN")
            case "date":
                return typed(f"TRY_CAST({t} AS DATE)", "DATE")
            case "text":
                return typed(t, "VARCHAR")
        return typed(f"TRY_CAST({plain} AS {declared.upper()})", declared.upper())
