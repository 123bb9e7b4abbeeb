"""Entity tags as RFC 9110 writes and compares them."""

import pytest

from app.api.conditional import EntityTags

ETAG = '"x,1"'


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('"x,1"', True),
        ('W/"x,1"', True),
        ('"a", W/"b" ,\t"x,1"', True),
        (', ,"x,1",,', True),
        ("*", True),
        (" * ", True),
        ('"*"', False),
        # Nothing is escaped in a tag.
        ('"a\\", "x,1"', True),
        ('w/"x,1"', False),
        ('W/ "x,1"', False),
        ('"x,1', False),
        ("x,1", False),
        ('"x,1" "a"', False),
        ('"x,1", a', False),
        ('*, "x,1"', False),
        ('"x 1", "x,1"', False),
        ("", False),
        (",", False),
    ],
)
def test_a_list_of_tags(header: str, matches: bool) -> None:
    assert EntityTags.parse(header).weakly_match(ETAG) is matches


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('"x,1"', True),
        ('W/"x,1"', False),
        ('W/"x,1", "x,1"', True),
        ("*", True),
        ("x,1", False),
        ("", False),
    ],
)
def test_a_strong_comparison(header: str, matches: bool) -> None:
    assert EntityTags.parse(header).strongly_match(ETAG) is matches


@pytest.mark.parametrize(
    ("header", "versions"),
    [
        ('"3"', {3}),
        ('"3", W/"4", "5"', {3, 5}),
        ('"0", "-1", "01", "1e3", "9999999999999999999", "\u00b2", "", "x"', set()),
        ('"9007199254740993"', {9007199254740993}),
        ("*", None),
        ("3", set()),
    ],
)
def test_versions_are_compared_strongly(header: str, versions: set[int] | None) -> None:
    assert EntityTags.parse(header).versions() == versions


@pytest.mark.parametrize("header", ["," * 60_000 + "x", '"a", ' * 12_000 + "x", ", " * 30_000])
def test_a_list_that_no_client_sends_costs_little(header: str) -> None:
    """Each read once: what takes squares of its length would not end here."""
    assert EntityTags.parse(header).tags == frozenset()
