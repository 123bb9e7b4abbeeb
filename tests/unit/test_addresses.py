"""Spellings of one e-mail address."""

import unicodedata

import pytest

from app.core.addresses import folded, kept


@pytest.mark.parametrize(
    "spellings",
    [
        ("ada@example.com", "ADA@example.com", " Ada@EXAMPLE.com\t", "\u3000ada@example.com\xa0"),
        ("émile@example.com", "Émile@example.com", "e\u0301mile@example.com", "ÉMILE@example.com"),
        ("ada@bücher.example", "ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@bücher.example", "ada@bu\u0308cher.example", "ADA@XN--BCHER-KVA.EXAMPLE"),
        ("νίκος@example.com", "ΝΊΚΟΣ@example.com", "Νίκος@example.com"),
        ("иван@пример.example", "ИВАН@ПРИМЕР.example", "Иван@пример.example"),
        ("info@example.com", "INFO@example.com"),
        ("\u01f0x@example.com", "j\u030cx@example.com", "J\u030cx@example.com"),
        ("ada@example.com", "Ada Lovelace <ada@example.com>"),
    ],
)
def test_all_spellings_fold_to_one(spellings: tuple[str, ...]) -> None:
    assert {folded(spelling) for spelling in spellings} == {folded(spellings[0])}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("strasse@example.com", "straße@example.com"),
        ("info@example.com", "\u0131nfo@example.com"),
        ("emile@example.com", "émile@example.com"),
        ("ada@example.com", "ada+news@example.com"),
        ("ada@example.com", "a.da@example.com"),
    ],
)
def test_other_letters_are_another_address(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Ada@Example.com", "Ada@example.com"),
        ("Émile.Zola@example.com", "émile.Zola@example.com"),
        (" ada@xn--bcher-kva.example ", "ada@bücher.example"),
        ("root", "root"),
        ("", ""),
        ("@", "@"),
        ("É", "é"),
        ("x" * 400, "x" * 400),
    ],
)
def test_an_address_is_shown_as_it_was_typed_as_far_as_that_is_no_spelling(
    typed: str, shown: str
) -> None:
    assert kept(typed) == shown
    assert kept(shown) == shown
    assert unicodedata.is_normalized("NFC", kept(typed))
