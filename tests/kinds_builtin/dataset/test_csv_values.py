"""Texts of CSV files as keys and as numbers: no guess merges or changes a value."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from tests.kinds_builtin.dataset.answers import line_of, refused, run, sum_of

# Keys


@pytest.mark.parametrize(
    "texts",
    [
        ["00501", "501", "0501"],
        ["007", "7"],
        ["0", "00", "000"],
        ["1E5", "100000", "1E05", "1e5"],
        ["12E3", "12000", "12e3"],
        ["2e308", "1e400", "inf"],
        ["+49", "49", "0049"],
        ["-5", "- 5", "--5"],
        ["-0", "0", "+0"],
        ["-0.0", "0.0"],
        ["1.10", "1.1", "1.100"],
        ["1.", "1", "1.0"],
        [".5", "0.5", "00.5"],
        ["0x10", "16", "0X10"],
        ["0b11", "0o17", "3", "15"],
        ["1_000", "1000", "1,000"],
        [" 7 ", "7", " 7"],
        ["7", "7\u00a0", "\u20097"],
        ["٣", "3"],
        ["1²", "1"],
        ["NA", "N/A", "n/a", "-", "null", "NULL", "None", "nil", "#N/A", "nan", "NaN"],
        ["s/n", "sin dato", "k. A.", "keine Angabe", "n.d.", "ND", "没有"],
        ["true", "TRUE", "True", "t", "1"],
        ["yes", "no", "y", "n", "on", "off"],
        ["NO", "SE", "DK"],
        ["2024-01-02", "2024-1-2", "01/02/2024", "20240102"],
        ["1/2", "0.5", "50%"],
        ["9007199254740993", "9007199254740992", "9007199254740992.5"],
        ["0.1", "0.1000000000000000055511151231257827"],
        ["18446744073709551616", "18446744073709551617"],
        ["9223372036854775807", "9223372036854775808"],
        ["1" * 39, "1" * 38 + "2"],
        ["1" * 60, "1" * 59 + "2"],
        ["e\u0301", "\u00e9"],
        ["a", "A"],
        ["a", "a ", " a"],
        ["a", "a\x00", "a\x00b"],
        ["ß", "ss", "SS"],
        ["\\N", "N", "\\"],
        ["=1+1", "2"],
    ],
    ids=lambda texts: repr(texts[0]),
)
def test_texts_that_differ_are_never_merged(texts: list[str]) -> None:
    content = "id,v\n" + "".join(
        f'"{text}",{10**place}\n' if "," in text else f"{text},{10**place}\n"
        for place, text in enumerate(texts)
    )
    output = run(content.encode(), group_by=["id"], aggregates=sum_of("v"), output_format="csv")
    assert {key: int(total) for key, total in output.rows} == {
        text: 10**place for place, text in enumerate(texts)
    }
    unique = [
        {"op": "n_unique", "column": "id", "name": "u"},
        {"op": "count_if", "filter": {"op": "eq", "column": "id", "value": texts[0]}, "name": "e"},
    ]
    assert run(content.encode(), aggregates=unique).rows == [[len(texts), 1]]


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "-7", "0"], int),
        (["9223372036854775807", "-9223372036854775808"], int),
        (["1.5", "0.5"], float),
        (["1.0", "2.0"], float),
        (["1", "0.5"], float),
        (["true", "false"], bool),
        (["1", "1.0"], str),
        (["1", "true"], str),
        (["01", "2"], str),
        (["1", "9223372036854775808"], str),
        (["1e5", "2e5"], str),
        (["-0.0", "1.0"], str),
        (["9007199254740993", "0.5"], str),
        (["True", "False"], str),
        (["2024-01-01", "2024-01-02"], str),
        (["nan", "1.0"], str),
        (["inf", "1.0"], str),
    ],
    ids=repr,
)
def test_a_key_is_a_number_only_if_each_text_is_its_usual_form(
    texts: list[str], kind: type
) -> None:
    content = "k\n" + "".join(f"{text}\n" for text in texts)
    keys = [row[0] for row in run(content.encode(), group_by=["k"]).rows]
    assert {type(key) for key in keys} == {kind}
    shown = [str(key).lower() if kind is bool else str(key) for key in keys]
    if kind is not float:
        assert sorted(shown) == sorted(texts)
    else:
        assert sorted(keys) == sorted(map(float, texts))


def test_extremes_of_numbers_that_are_written_as_money_keep_their_text() -> None:
    content = b"p\n1.50\n10.25\n9.00\n"
    reduce = [{"op": op, "column": "p", "name": op} for op in ("min", "max", "first", "last")]
    assert run(content, aggregates=reduce).rows == [["1.50", "10.25", "1.50", "9.00"]]


def test_only_an_unquoted_empty_field_is_null() -> None:
    content = b'a,b\n,1\n"",2\nNA,3\n'
    count = [{"op": "count", "column": "a", "name": "n"}]
    assert run(content, aggregates=count).rows == [[2]]
    assert run(content, aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]
    assert run(b'a,b\n"NA",1\nNA,2\n', aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]
    assert run(b"a,b\n NA,1\nNA,2\n", aggregates=count, csv={"null_values": ["NA"]}).rows == [[1]]


@pytest.mark.parametrize(
    ("content", "nulls", "total"),
    [
        (b'"a","b"\n"1",""\n"2","3"\n', [], 3),
        (b'"a","b"\n"1","NA"\n"2","3"\n', ["NA"], 3),
        (b'"a","b"\n"1","-"\n"2",-\n"3","4"\n', ["-"], 4),
        (b'"a","b"\n"1","N,A"\n"2","3"\n', ["N,A"], 3),
        (b'"a","b"\n"1","not\nknown"\n"2","3"\n', ["not\nknown"], 3),
    ],
)
def test_quoted_fields_are_null_where_the_option_is_set(
    content: bytes, nulls: list[str], total: int
) -> None:
    options = {"null_values": nulls}
    error = refused(content, aggregates=sum_of("b"), csv=options)
    assert error.code == "csv-value"
    assert "csv.quoted_nulls" in error.detail
    ask = [*sum_of("b"), {"op": "count", "column": "b", "name": "n"}]
    found = run(content, aggregates=ask, csv=options | {"quoted_nulls": True})
    assert found.rows == [[total, 1]]


# Arithmetic


@pytest.mark.parametrize("spelled", ["true,false,true", "True,False,True", "TRUE,FALSE,True"])
def test_a_sum_of_booleans_counts_the_true_ones(spelled: str) -> None:
    content = ("a,b\n" + "".join(f"1,{each}\n" for each in spelled.split(","))).encode()
    assert run(content, aggregates=sum_of("b")).rows == [[2]]


def test_a_value_among_booleans_is_at_fault_and_not_they() -> None:
    content = b"a,b\n1,true\n2,false\n3,perhaps\n4,true\n"
    error = refused(content, aggregates=sum_of("b"))
    assert error.code == "csv-value"
    assert "'perhaps' in line 4" in error.detail
    found = run(content, aggregates=sum_of("b"), csv={"on_error": "skip"})
    assert found.rows == [[2]]
    assert found.result.rows_skipped == 1
    # With a number in the column, a boolean is at fault.
    assert "'true' in line 2" in refused(content + b"5,1\n", aggregates=sum_of("b")).detail


@pytest.mark.parametrize(
    ("texts", "total"),
    [
        (["1", "2", ""], 3),
        ([" 7 ", "\t8"], 15),
        (["+49", "-50"], -1),
        (["007", "008"], 15),
        (["9223372036854775807", "1"], 2**63),
        (["9223372036854775807"] * 3, 3 * (2**63 - 1)),
        (["12345678901234567890", "1"], 12345678901234567891),
        (["-" + "9" * 37, "1"], -(10**37) + 2),
        (["1E2", "1"], 101.0),
        ([".5", "5."], 5.5),
        (["1.10", "1.1"], 2.2),
        (["true", "false", "true"], 2),
        (["1e308", "-1e308", "1"], 1.0),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_texts_are_summed_as_numbers(texts: list[str], total: Any) -> None:
    content = "k,v\n" + "".join(f"x,{text}\n" for text in texts)
    ((got,),) = run(content.encode(), aggregates=sum_of("v")).rows
    assert type(got) is type(total) or (isinstance(got, Decimal) and got == int(got))
    assert float(got) == pytest.approx(float(total)) if isinstance(total, float) else got == total


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    ["-", "NA", "n/a", "nan", "inf", "-inf", "0x10", "1_000", "1,5", "1.2.3", "--1", "1e", "e5",
    ".", "+", "1e400",
     "12abc", "$5", "5%", "5 €", "1 000", "٣", "²", "true", "1e5.5", "1\u00a0", "=1", "(5)", "1-"],
)  # fmt: skip
def test_a_text_that_is_not_a_number_is_named(value: str) -> None:
    content = f'k,v\na,1\nb,"{value}"\nc,3\n'.encode()
    specs: list[dict[str, Any]] = [
        {"aggregates": sum_of("v")},
        {"aggregates": [{"op": "median", "column": "v", "name": "x"}]},
        {"filters": [{"op": "gt", "column": "v", "value": 0}]},
        {"group_by": [{"op": "bin", "column": "v", "width": 1, "name": "b"}]},
    ]
    spec = specs[len(value) % len(specs)]
    error = refused(content, **spec)
    assert (error.code, line_of(error)) == ("csv-value", 3)
    assert "'v'" in error.detail
    assert repr(value) in error.detail or value in error.detail
    # Nobody asks for the column.
    assert run(content, group_by=["k"]).rows == [["a", 1], ["b", 1], ["c", 1]]
    # Or the user would rather go on without the row.
    output = run(content, csv={"on_error": "skip"}, **spec)
    assert output.result.rows_in == 2
    assert output.result.rows_skipped == 1
    (skipped,) = output.result.skipped
    assert (skipped.line, skipped.column) == (3, "v")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "thousands", "good", "bad"),
    [
        (",", None, {"1,5": "1.5", "2": "2", ",5": "0.5"}, ["1.5", "1,2,3"]),
        (",", ".", {"1.234,50": "1234.5", "12.345.678": "12345678", "1234,5": "1234.5"},
         ["1.23", "12.34.567", "1.2345", "1,234.5", ".234", "1..234"]),
        (".", ",", {"1,234.50": "1234.5", "999": "999", "-1,000": "-1000", "+1,000.0e1": "10000"},
         ["1,23", "1,2345", ",123", "1,234,56", "1.234,5", "1,,234", "12,34,567", "1234,567"]),
        (".", "'", {"1'234.5": "1234.5", "1'000'000": "1000000"}, ["1'23", "1,5"]),
        (",", " ", {"1 234,5": "1234.5", " 1 ": "1"}, ["1  234", "12 34"]),
        (",", "\u00a0", {"1\u00a0234,5": "1234.5"}, ["1 234,5"]),
    ],
)  # fmt: skip
def test_numbers_are_read_by_separators_of_decimals_and_thousands(
    point: str, thousands: str | None, good: dict[str, str], bad: list[str]
) -> None:
    options = {"decimal_separator": point, "thousands_separator": thousands, "separator": ";"}
    content = "k;v\n" + "".join(f"x;{text}\n" for text in good)
    ((got,),) = run(content.encode(), csv=options, aggregates=sum_of("v")).rows
    assert Decimal(str(got)) == sum(map(Decimal, good.values()))
    for text in bad:
        error = refused(f"k;v\nx;1\nx;{text}\n".encode(), csv=options, aggregates=sum_of("v"))
        assert (error.code, line_of(error)) == ("csv-value", 3), text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("decimal(5,2)", ["1.10", "-999.99", "5", "7.100", " 1 ", "+.5", "007.5"],
         ["1000", "0.001", "1e2", "x", "1.1.1", "nan"]),
        ("decimal(38,0)", ["9" * 38, "-" + "9" * 38, "1.0"], ["9" * 39, "0.5"]),
        ("decimal(38,38)", ["0." + "1" * 38, "-.5"], ["1", "0." + "1" * 39]),
        ("decimal(20,4)", ["0.1"] * 10, ["1" * 17]),
    ],
)  # fmt: skip
def test_sums_of_declared_decimals_are_exact(kind: str, good: list[str], bad: list[str]) -> None:
    options = {"types": {"v": kind}}
    content = "k,v\n" + "".join(f"x,{text}\n" for text in good)
    ((got,),) = run(content.encode(), csv=options, aggregates=sum_of("v")).rows
    assert Fraction(got) == sum(map(Fraction, good))
    for text in bad:
        error = refused(f"k,v\nx,1.0\nx,{text}\n".encode(), csv=options, group_by=["v"])
        assert (error.code, line_of(error)) == ("csv-value", 2 if kind.endswith("38)") else 3), text
