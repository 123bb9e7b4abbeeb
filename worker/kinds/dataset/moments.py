"""Dates and times of CSV columns whose type is declared, in microseconds or nanoseconds."""

from dataclasses import dataclass

from worker.kinds.dataset import values
from worker.kinds.dataset.spec import MomentFormat, directives

# The years whose times are all within the range of TIMESTAMP_NS, whatever their zone.
NEAR = "TIMESTAMP '1678-01-01' AND TIMESTAMP '2261-12-31'"
LIMITS = (
    "(at most nine digits of a second; in the years 1678 to 2261 if a value of the column has more "
    "than six)"
)


@dataclass(frozen=True, slots=True)
class Moments:
    """Expressions in SQL, null where a text is not such a date or time.

    The column is read in nanoseconds if one of its texts has more than six digits of a second.
    """

    microseconds: str
    nanoseconds: str
    # Whether a text is one, in whatever range and however exact.
    holds: str
    type: str
    wanted: str
    remedy: str

    def forms(self) -> values.Forms:
        return {
            "near": f"({self.microseconds} BETWEEN {NEAR})",
            "far": f"({self.microseconds} IS NOT NULL)",
            "fine": f"({self.nanoseconds} IS NOT NULL)",
            "beyond": self.holds,
        }


def moments(t: str, declared: str | MomentFormat) -> Moments:
    """How the texts `t` of a column are read, which is declared as `datetime` or by a format."""
    if isinstance(declared, MomentFormat):
        read = values.formatted(t, declared)
        fine = "NULL"
        if "f" in directives(declared.format):
            fine = values.formatted(t, declared, fine=True)
        if declared.type == "date" and fine != "NULL":
            # Casts, and year(), would round the last moment of a day before 1970 up.
            parts = ", ".join(f"date_part('{part}', {fine})" for part in ("year", "month", "day"))
            read = f"coalesce({read}, make_date({parts}))"
            fine = "NULL"
        return Moments(
            read,
            fine,
            "false",
            "DATE" if declared.type == "date" else "TIMESTAMP",
            f"a {declared.type} of the format {declared.format}",
            "correct csv.types, or add the value to csv.null_values if it means null",
        )
    holds, fine_digits = values.is_moment(t), values.is_fine(t)
    exact = f"NOT {values.is_fine(t, digits=9)} AND {holds}"
    return Moments(
        f"CASE WHEN NOT {fine_digits} AND {holds} THEN {values.as_moment(t)} END",
        f"CASE WHEN {exact} THEN {values.as_nanoseconds(t)} END",
        holds,
        "TIMESTAMP",
        "a time by ISO 8601 (2013-12-31T23:59:00Z)",
        "or give its format in csv.types, as {'type': 'date', 'format': '%d.%m.%Y'}",
    )
