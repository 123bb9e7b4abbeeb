"""The names of series in an expression."""

import pytest

from tests.observe.queries import metric_names


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up", {"up"}),
        ('a_total{kind="b_total", x=~"c|d"}', {"a_total"}),
        ("sum by (kind, pool) (rate(a_total[5m]))", {"a_total"}),
        ("sum(rate(a_total[$__rate_interval])) by (le)", {"a_total"}),
        ("a / on (pool) group_left (urgency) b", {"a", "b"}),
        ("a > 5 and b unless c or vector(0)", {"a", "b", "c"}),
        ('heavylift:slo:ratio_rate5m{slo="x"} * 100', {"heavylift:slo:ratio_rate5m"}),
        ("max_over_time(a[1h:30s] offset 5m)", {"a"}),
        ("a offset 1d == bool 1", {"a"}),
        ('label_replace(a, "b", "$1", "c", "(.*)")', {"a"}),
        ('count by (version) (a{x!=""}) unless count by (version) (a offset 1m)', {"a"}),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m]))) > Inf", {"a_bucket"}),
        ("time() - a", {"a"}),
    ],
)
def test_an_expression_selects_by_these_names(expression: str, names: set[str]) -> None:
    assert metric_names(expression) == names
