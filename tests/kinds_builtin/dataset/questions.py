"""Random specifications over the columns of a table."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.kinds_builtin.dataset.csv_tables import NUMERIC, POOLS, Csv

COMPARES = ["eq", "ne", "lt", "le", "gt", "ge"]


@dataclass
class Asked:
    """Columns by what may be asked of them; `texts` are values for comparisons."""

    names: list[str]
    numeric: list[str]
    temporal: list[str]
    boolean: list[str]
    values: dict[str, list[Any]]


def asked_of(table: Csv) -> Asked:
    declared = table.options.get("types", {})
    return Asked(
        list(table.pools),
        [
            name
            for name, pool in table.pools.items()
            if (pool in NUMERIC or (pool == "money" and len(table.options) > 1))
            and declared.get(name) != "text"
        ],
        [
            name
            for name, pool in table.pools.items()
            if pool in ("dates", "moments") and declared.get(name) != "text"
        ],
        [
            name
            for name, pool in table.pools.items()
            if pool == "booleans" and declared.get(name) != "text"
        ],
        {name: POOLS[pool] for name, pool in table.pools.items()},
    )


@st.composite
def filters(draw: st.DrawFn, asked: Asked) -> dict[str, Any]:
    kind = draw(st.sampled_from(["null", "text", "text", "number", "number", "boolean", "match"]))
    if kind == "number" and asked.numeric:
        name = draw(st.sampled_from(asked.numeric))
        number = st.sampled_from(
            [
                0,
                1,
                2,
                -3,
                1.5,
                0.5,
                0.1,
                100,
                100000,
                501,
                2**53,
                2**53 + 1,
                2**63 - 1,
                -(2**63),
                1e20,
                1e300,
            ]
        )
        return _compare(draw, name, number)
    if kind == "boolean" and asked.boolean:
        name = draw(st.sampled_from(asked.boolean))
        return _compare(draw, name, st.booleans())
    name = draw(st.sampled_from(asked.names))
    if kind == "null":
        return {"op": draw(st.sampled_from(["is_null", "is_not_null"])), "column": name}
    texts = st.sampled_from(
        [str(v)[:1000] for v in asked.values[name]] + ["", "a", "1", "2024-01-31"]
    )
    if kind == "match":
        part = draw(texts)
        part = part[: draw(st.integers(0, 3))] if draw(st.booleans()) else part
        return {
            "op": draw(st.sampled_from(["contains", "starts_with", "ends_with"])),
            "column": name,
            "value": part,
        }
    return _compare(draw, name, texts)


def _compare(draw: st.DrawFn, name: str, values: st.SearchStrategy[Any]) -> dict[str, Any]:
    op = draw(st.sampled_from([*COMPARES, "in", "between"]))
    if op == "in":
        return {"op": op, "column": name, "values": draw(st.lists(values, min_size=1, max_size=3))}
    if op == "between":
        return {"op": op, "column": name, "low": draw(values), "high": draw(values)}
    return {"op": op, "column": name, "value": draw(values)}


@st.composite
def questions(draw: st.DrawFn, asked: Asked) -> dict[str, Any]:  # noqa: C901 - a branch per use
    spec: dict[str, Any] = {}
    if draw(st.integers(0, 2)) == 0:
        spec["filters"] = draw(st.lists(filters(asked), min_size=1, max_size=2))
    keys: list[Any] = draw(st.lists(st.sampled_from(asked.names), max_size=2, unique=True))
    if asked.temporal and draw(st.integers(0, 2)) == 0:
        name = draw(st.sampled_from(asked.temporal))
        units = ["year", "quarter", "month", "week", "day", "hour", "minute"]
        if draw(st.booleans()):
            keys.append(
                {
                    "op": "truncate",
                    "column": name,
                    "unit": draw(st.sampled_from(units)),
                    "name": "key\n",
                }
            )
        else:
            parts = st.sampled_from([*units, "weekday"])
            keys.append({"op": "part", "column": name, "part": draw(parts), "name": "'key'"})
    if asked.numeric and draw(st.integers(0, 4)) == 0:
        keys.append(
            {
                "op": "bin",
                "column": draw(st.sampled_from(asked.numeric)),
                "width": draw(st.sampled_from([1, 2, 10, 0.5, 0.25, 7])),
                "origin": draw(st.sampled_from([0, 0, 1, -3, 0.5])),
                "name": '"bin"',
            }
        )
    spec["group_by"] = keys
    aggregates: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        kinds = ["count", "rows", "min", "max", "n_unique", "first", "last", "count_if"]
        if asked.numeric or asked.boolean:
            kinds += ["sum", "sum", "mean"]
        if asked.numeric:
            kinds += ["median", "std", "quantile"]
        op = draw(st.sampled_from(kinds))
        each: dict[str, Any] = {"op": op, "name": f"{op};{number}"}
        if op == "rows":
            each["op"] = "count"
        elif op == "count_if":
            each["filter"] = draw(filters(asked))
        elif op in ("sum", "mean"):
            each["column"] = draw(st.sampled_from(asked.numeric + asked.boolean))
        elif op in ("median", "std", "quantile"):
            each["column"] = draw(st.sampled_from(asked.numeric))
        else:
            each["column"] = draw(st.sampled_from(asked.names))
        if op == "quantile":
            each["quantile"] = draw(st.sampled_from([0, 0.25, 0.5, 0.9, 1]))
        aggregates.append(each)
    spec["aggregates"] = aggregates
    names = [key if isinstance(key, str) else key["name"] for key in keys]
    names += [each["name"] for each in aggregates]
    if draw(st.integers(0, 2)) == 0:
        columns = draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        spec["sort"] = [{"column": name, "descending": draw(st.booleans())} for name in columns]
    if draw(st.integers(0, 3)) == 0:
        spec["limit"] = draw(st.integers(1, 3))
        if draw(st.booleans()):
            spec["limit_per"] = draw(
                st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)
            )
    spec["output_format"] = draw(st.sampled_from(["parquet", "csv"]))
    return spec
