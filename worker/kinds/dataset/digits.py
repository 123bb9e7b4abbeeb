"""The exact order of numbers that are written in digits, by a text.

A double keeps 15 to 17 digits, and DuckDB's decimals 38. The texts here sort, and are equal, as the
numbers do: a sign, the number of digits before the point, and the digits without zeros around them.
The digits of negative numbers are mirrored, and end in a character that is greater than each digit.
"""

from decimal import Decimal

DIGITS, MIRRORED = "0123456789", "9876543210"
# Added to the places before the point, so that none is negative. Numbers with more zeros behind
# the point are not told apart.
MOST_PLACES = 10**9
WIDTH = len(str(2 * MOST_PLACES))


def order(plain: str) -> str:
    """An SQL expression for the text of a number, which has a point and blanks around it."""
    # Faster than trim.
    number = f"lower(replace(replace({plain}, ' ', ''), '\t', ''))"
    mantissa = f"ltrim(split_part({number}, 'e', 1), '+-')"
    exponent = f"coalesce(TRY_CAST(split_part({number}, 'e', 2) AS DOUBLE), 0)"
    whole = f"ltrim(split_part({mantissa}, '.', 1), '0')"
    fraction = f"split_part({mantissa}, '.', 2)"
    digits = f"rtrim(ltrim({whole} || {fraction}, '0'), '0')"
    places = (
        f"CASE WHEN {whole} <> '' THEN length({whole}) "
        f"ELSE length(ltrim({fraction}, '0')) - length({fraction}) END"
    )
    # Only 0 has a greater exponent.
    limited = f"least(greatest({exponent} + {places}, {-MOST_PLACES}), {MOST_PLACES})"
    above = f"lpad(CAST(CAST({limited} AS BIGINT) + {MOST_PLACES} AS VARCHAR), {WIDTH}, '0')"
    return (
        f"CASE WHEN {digits} = '' THEN '1' WHEN starts_with({number}, '-') "
        f"THEN '0' || translate({above} || {digits}, '{DIGITS}', '{MIRRORED}') || '~' "
        f"ELSE '2' || {above} || {digits} END"
    )


def place(number: Decimal) -> str:
    """The text of one number in this order."""
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    if not digits:
        return "1"
    above = max(number.adjusted() + 1, -MOST_PLACES) + MOST_PLACES
    text = f"{above:0{WIDTH}}{digits}"
    if number > 0:
        return f"2{text}"
    return f"0{text.translate(str.maketrans(DIGITS, MIRRORED))}~"
