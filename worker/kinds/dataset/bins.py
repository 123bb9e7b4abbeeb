"""Bins of numbers in SQL, exact where a column's numbers are."""

from decimal import Decimal

from worker.kinds.dataset.columns import Value
from worker.kinds.dataset.faults import OVERFLOW
from worker.kinds.dataset.spec import MAX_DIGITS, Bin

# Places of a bin's end that leave room for every width and origin.
MAX_BIN_SCALE = 24


def lower_end(value: Value, key: Bin) -> str:
    """The lower end of the bin of each number of a column."""
    whole = float(key.width).is_integer() and float(key.origin).is_integer()
    if value.kind == "integer" and whole:
        x = f"(CAST({value.sql} AS HUGEINT) - {int(key.origin)}::HUGEINT)"
        width = f"{int(key.width)}::HUGEINT"
        rest = f"((({x} % {width}) + {width}) % {width})"
        return f"({x} - {rest} + {int(key.origin)}::HUGEINT)"
    if value.kind == "decimal" or (value.kind == "integer" and not _is_short(value, key)):
        return _decimal_bin(value, key)
    return _float_bin(f"CAST({value.sql} AS DOUBLE)", key)


def _is_short(value: Value, key: Bin) -> bool:
    """Whether the bins of integers have ends that doubles keep apart."""
    most = max(-value.low, value.high)
    return most < 2**51 or (most < 2**53 and key.width > 1)


def _decimal_bin(value: Value, key: Bin) -> str:
    """The lower end of the bin of an exact number, with the places of column and bins."""
    width, origin = Decimal(repr(key.width)), Decimal(repr(key.origin))
    scale = max(min(value.scale, MAX_BIN_SCALE), *(_places(each) for each in (width, origin)))
    x, type_ = value.sql, f"DECIMAL({MAX_DIGITS},{scale})"
    number = f"TRY_CAST({x} AS {type_})"
    if value.scale > scale:
        # A bin that holds a number holds it without its last places, too.
        place = f"{Decimal(1).scaleb(-scale):f}"
        rest = f"({x} % {place}::DECIMAL({MAX_DIGITS},{value.scale}))"
        below = f"CASE WHEN {rest} < 0 THEN {place} ELSE 0 END"
        number = f"(TRY_CAST({x} - {rest} AS {type_}) - CAST({below} AS {type_}))"
    begin, step = f"{origin:f}::{type_}", f"{width:f}::{type_}"
    rest = f"(((({number} - {begin}) % {step}) + {step}) % {step})"
    overflow = f"{x} IS NOT NULL AND {number} IS NULL"
    return f"CASE WHEN {overflow} THEN error('{OVERFLOW}') ELSE {number} - {rest} END"


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(-int(exponent), 0)


def _float_bin(x: str, key: Bin) -> str:
    """The lower end of the bin of a double: a multiple of the width in decimal arithmetic.

    In binary arithmetic 0.3 is less than three times 0.1.
    """
    width, origin = Decimal(repr(key.width)), Decimal(repr(key.origin))

    def end(place: str) -> str:
        exact = f"CAST({place} AS DECIMAL(16,0)) * {width:f}::DECIMAL(22,9)"
        return f"CAST({exact} + {origin:f}::DECIMAL(22,9) AS DOUBLE)"

    place = f"floor(({x} - {float(origin)!r}::DOUBLE) / {float(width)!r}::DOUBLE)"
    return (
        # Neighbouring doubles beyond are further apart than bins.
        f"CASE WHEN NOT isfinite({x}) OR abs({place}) >= 1e15 THEN {x} "
        f"WHEN {x} >= {end(f'{place} + 1')} THEN {end(f'{place} + 1')} "
        f"WHEN {x} < {end(place)} THEN {end(f'{place} - 1')} ELSE {end(place)} END"
    )
