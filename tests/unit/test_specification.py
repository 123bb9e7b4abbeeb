import pytest
from pydantic import JsonValue

from app.cli.specification import put, read_specification
from app.client import ClientError
from app.client.answers import JsonObject


@pytest.mark.parametrize(
    ("before", "path", "after"),
    [
        ({}, "a", {"a": 1}),
        ({"a": 2}, "a", {"a": 1}),
        ({}, "a.b.c", {"a": {"b": {"c": 1}}}),
        ({}, "a.0", {"a": [1]}),
        ({}, "a.0.b", {"a": [{"b": 1}]}),
        ({"a": [2]}, "a.1", {"a": [2, 1]}),
        ({"a": [2]}, "a.0", {"a": [1]}),
        ({"a": [{"b": 2}]}, "a.0.c", {"a": [{"b": 2, "c": 1}]}),
        ({"0": {}}, "0.a", {"0": {"a": 1}}),
    ],
)
def test_a_value_is_put_where_its_path_leads(
    before: JsonObject, path: str, after: JsonObject
) -> None:
    put(before, path, 1)
    assert before == after


@pytest.mark.parametrize(
    ("before", "path"),
    [({"a": []}, "a.1"), ({"a": []}, "a.b"), ({"a": 1}, "a.b"), ({"a": None}, "a.b.c")],
)
def test_a_path_that_leads_nowhere(before: JsonObject, path: str) -> None:
    with pytest.raises(ClientError, match=path):
        put(before, path, 1)


def test_a_specification_that_can_not_be_sent_is_refused() -> None:
    deep = ".".join("a" * 3000) + "=1"
    deeper = ".".join("a" * 100) + "=" + "[" * 190 + "]" * 190
    for setting in (deep, deeper, "a." + "9" * 6000 + "=1"):
        with pytest.raises(ClientError):
            read_specification('{"a": []}', [setting])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("webp", "webp"),
        ('"5"', "5"),
        ("a=b", "a=b"),
        ('["a"]', ["a"]),
        ("", ""),
    ],
)
def test_what_reads_as_json_is_that_and_anything_else_is_text(text: str, value: JsonValue) -> None:
    assert read_specification(None, [f"a={text}"]) == {"a": value}
