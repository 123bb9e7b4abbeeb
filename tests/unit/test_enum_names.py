"""Names of enums' values, which generated clients make identifiers of."""

import re
from typing import Any

import pytest

from app.api.enum_names import KEYWORD, name_enum_values


def named(*values: object, **more: object) -> Any:
    schema = {"properties": {"field": {"anyOf": [{"enum": list(values), **more}]}}}
    name_enum_values(schema)
    return schema["properties"]["field"]["anyOf"][0].get(KEYWORD)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([",", ";", "\t", "|"], ["COMMA", "SEMICOLON", "TAB", "VERTICAL_LINE"]),
        (["<=", "<"], ["LESS_THAN_SIGN_EQUALS_SIGN", "LESS_THAN_SIGN"]),
        (["1st", "2nd"], ["VALUE_1ST", "VALUE_2ND"]),
        (["", "a"], ["EMPTY", "A"]),
        (["a", "A"], ["A", "A_2"]),
        (["gpt-4.1", "gpt-41"], ["GPT_HYPHEN_MINUS_4_FULL_STOP_1", "GPT_HYPHEN_MINUS_41"]),
        (["\x01", "\n"], ["U0001", "LINE_FEED"]),
        (["é"], ["LATIN_SMALL_LETTER_E_WITH_ACUTE"]),
        (["_"], ["VALUE"]),
    ],
)
def test_values_that_make_no_identifiers_are_named(values: list[str], names: list[str]) -> None:
    assert named(*values) == names
    assert all(re.fullmatch("[A-Z][A-Z0-9_]*", name) for name in names)


@pytest.mark.parametrize("values", [["jpeg", "png"], ["is_null", "is_not_null"], [0, 90], [None]])
def test_other_values_are_left_to_the_generator(values: list[object]) -> None:
    assert named(*values) is None


def test_names_that_an_author_gave_stay() -> None:
    assert named("<", ">", **{KEYWORD: ["LESS", "GREATER"]}) == ["LESS", "GREATER"]
