"""Approximate quantiles in SQL, in the order in which NaN is greater than every number.

DuckDB's t-digest leaves infinities and NaN out, and estimates the least and the greatest value.
"""

# Quantiles of the finite values, from which another one is interpolated.
POINTS = 100
# Shares such as 1/3 are not exact.
ROUNDING = 1e-9


def approximate(x: str, quantile: float, *, finite: bool) -> str:
    """An aggregate of the doubles `x`, of which all are finite or some may not be."""
    if quantile in (0, 1):
        return f"{'min' if quantile == 0 else 'max'}({x})"
    share = repr(float(quantile))
    if finite:
        return f"approx_quantile({x}, {share}::FLOAT)"
    shares = ", ".join(str(n / POINTS) for n in range(POINTS + 1))
    # The quantile itself is the first of the list, of which SQL counts from 1.
    estimates = f"approx_quantile({x}, [{share}::FLOAT, {shares}])"
    numbers = f"count({x}) FILTER (WHERE isfinite({x}))"
    low = f"count({x}) FILTER (WHERE isinf({x}) AND {x} < 0)"
    high = f"count({x}) FILTER (WHERE isinf({x}) AND {x} > 0)"
    place = f"({share}::DOUBLE * (count({x}) - 1))"
    # The t-digest has a number's share at the middle of its weight.
    inner = f"(({place} - {low} + 0.5) / {numbers})"
    point = f"(least(greatest({inner}, 0), 1) * {POINTS})"
    before = f"CAST(floor({point}) AS BIGINT)"
    part = f"({point} - {before})"
    left, right = f"{estimates}[{before} + 2]", f"{estimates}[least({before} + 1, {POINTS}) + 2]"
    return (
        f"CASE WHEN {numbers} = count({x}) THEN {estimates}[1] "
        f"WHEN {place} > {low} + {numbers} + {high} - 1 + {ROUNDING} THEN 'nan'::DOUBLE "
        f"WHEN {place} > {low} + {numbers} - 1 + {ROUNDING} THEN 'inf'::DOUBLE "
        f"WHEN {place} < {low} - {ROUNDING} THEN '-inf'::DOUBLE "
        f"ELSE {left} * (1 - {part}) + {right} * {part} END"
    )
