# ruff: noqa: RUF001  the letters of many languages
"""Languages that are read, and lines in other scripts."""

from pathlib import Path

import pytest

from tests.kinds_builtin.conftest import FolderContext
from tests.kinds_builtin.text.reading import (
    UNKNOWN,
    content,
    draw,
    in_order,
    needs_dejavu,
    read,
    squeezed,
    texts,
    wrapped,
)
from worker.kinds.text import TextLines
from worker.kinds.text.recognise import Read
from worker.kinds.text.scripts import Sized, unreadable

KNOWN = {
    "en": "All human beings are born free and equal in dignity and rights",
    "de": "Größe, Öl und Ärger auf der Straße: eine Überweisung genügt",
    "pl": "Wszyscy ludzie rodzą się wolni i równi, zażółć gęślą jaźń",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar",
    "fr": "Tous les êtres humains naissent libres, où ça, œuvre, été",
    "ro": "Toate ființele umane se nasc libere și egale în demnitate",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága",
    "formula": "where alpha is 0.5 and the sum over i of x[i] is 3 * y + 1",
}


CLAIMED = {
    "German": "ÄÖÜäöüß",
    "French": "àâæçéèêëîïôœùûüÿÀÉÇ",
    "Spanish": "áéíóúüñÁÉÍÓÚÑ¿",
    "Polish": "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ",
    "Czech": "áčďéěíňóřšťúůýž",
    "Turkish": "çğıİöşüÇĞÖŞÜ",
    "Romanian": "ăâîșțĂÂÎȘȚ",
    "Hungarian": "áéíóöőúüűÁÉÍÓÖŐÚÜŰ",
    "Danish": "æøåÆØÅ",
    "Icelandic": "ðþæöáéíóúýÐÞ",
    "Latvian": "āčēģīķļņšūž",
    "Chinese": "中文简体繁體國語",
    "Japanese": "ひらがなカタカナ日本語",
}


@pytest.mark.slow
@needs_dejavu
@pytest.mark.parametrize("language", UNKNOWN)
def test_lines_in_an_unknown_script_are_left_out(
    job: FolderContext, tmp_path: Path, language: str
) -> None:
    text = wrapped(UNKNOWN[language].split(), 60)
    result = read(job, draw([(40, 40, text)], tmp_path / "page.png", size=(900, 200)))
    assert [line.text for line in result.lines] == []
    assert result.unreadable_lines == result.pages[0].unreadable_lines >= 2
    assert result.pages[0].unknown_script
    details = TextLines.model_validate_json(content(job, result.details))
    assert len(details.unreadable) == result.unreadable_lines


@pytest.mark.slow
@needs_dejavu
def test_lines_in_known_languages_are_all_read(job: FolderContext, tmp_path: Path) -> None:
    path = draw([(40, 40, "\n".join(KNOWN.values()))], tmp_path / "page.png", size=(900, 320))
    result = read(job, path)
    assert result.unreadable_lines == 0
    assert not result.pages[0].unknown_script
    assert in_order(list("".join(texts(result))), list(squeezed("".join(KNOWN.values())))) > 0.95
    assert set(result.languages) >= set(KNOWN) - {"formula"}


@pytest.mark.slow
def test_model_knows_the_letters_of_the_listed_languages() -> None:
    from worker.kinds.text.recognise import _engine

    known = set(_engine(1)._load_rec_model().postprocess_op.character)
    for language, letters in CLAIMED.items():
        assert set(letters) <= known, (language, set(letters) - known)
    # rapidocr lists Vietnamese as well, whose letters the model does not have.
    for language, letters in {"Vietnamese": "ếệạ", "Russian": "ж", "Korean": "한"}.items():
        assert not set(letters) <= known, language


@pytest.mark.slow
@needs_dejavu
def test_formulas_with_greek_letters_are_kept(job: FolderContext, tmp_path: Path) -> None:
    lines = [
        "The current through the second resistor is",
        "Ω = 5 Ω, α = β + γ, λ ≤ ε",
        "which holds for all values of the constants",
        "sin α + cos β = π/2, φ(x) = 0",
        "and for any frequency above the first one.",
    ]
    result = read(job, draw([(40, 30, "\n".join(lines))], tmp_path / "page.png", size=(700, 200)))
    assert texts(result) == [squeezed(line) for line in lines]
    assert (result.unreadable_lines, result.pages[0].unknown_script) == (0, False)


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("Ω = 5 Ω, α = β + γ, Δ = 3 µm", True),
        ("Δψ + k²ψ = 0, αβγδ = ε", True),
        ("τ = μ ω σ, κ ≈ 0.4, ζ η θ ι", True),
        ("The word λόγος means reason or speech", True),
        ("ελληνι γλσσα εναι α απ τι", False),
        ("ναι μλ εν ανεξτητυ κλυ", False),
        ("Eυχαιστο για τ συνεγασα", False),
        ("Σύνολο: 1.234,56", False),
    ],
)
def test_greek_letters_count_in_words_only(text: str, is_read: bool) -> None:
    places = tuple((index + 0.5) / len(text) for index in range(len(text)))
    line = Sized(Read(text, 0.9, places, unread=0.0), length=300, height=20)
    other = Sized(Read("Some English", 0.99, places[:12], unread=0.0), length=900, height=20)
    assert unreadable([line, other]) == ([not is_read, False], False)


@pytest.mark.parametrize(("height", "unknown"), [(20, True), (10, True), (9, False), (4, False)])
def test_script_is_blamed_for_lines_of_legible_height_only(height: float, unknown: bool) -> None:
    lost = Sized(Read("", 0.0, (), unread=1.0), length=500, height=height)
    doubtful = Sized(Read("lookalike", 0.8, (), unread=0.0), length=100, height=height)
    # Readings below certainty are left out either way.
    assert unreadable([lost, doubtful]) == ([True, True], unknown)
