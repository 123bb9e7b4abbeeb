"""`heavylift files`, against the real API."""

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.cli.client.conftest import Heavylift
from tests.integration.cli.conftest import Outcome, is_one_line

# Against a real API, a process.
pytestmark = pytest.mark.slow

TEXT = "a line\n" * 100


def read(outcome: Outcome) -> Any:
    """The one document on standard output."""
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def file_id(ada: Heavylift, folder: Path) -> str:
    """Of a file that is stored, and not here any more."""
    (folder / "notes.txt").write_text(TEXT)
    outcome = ada("files", "put", "notes.txt")
    assert outcome.code == 0, outcome.err
    (folder / "notes.txt").unlink()
    return outcome.out.strip()


def test_stores_a_file_and_prints_its_id(ada: Heavylift, folder: Path) -> None:
    (folder / "notes.txt").write_text(TEXT)
    outcome = ada("files", "put", "notes.txt")
    assert outcome.err == "stored notes.txt: text/plain, 700 bytes\n"
    [listed] = read(ada("files", "list", "--json"))["items"]
    assert outcome.out == f"{listed['id']}\n"
    assert listed["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()
    named = read(ada("files", "put", "notes.txt", "--name", "other.txt", "--json"))
    assert (named["name"], named["size"]) == ("other.txt", 700)


def test_stores_standard_input(ada: Heavylift) -> None:
    stored = read(ada("files", "put", "-", "--json", stdin=TEXT.encode()))
    assert (stored["name"], stored["size"]) == ("stdin", 700)
    assert read(ada("files", "put", "-", "--json", stdin=b""))["size"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["put", "none"], "can't read none: No such file or directory"),
        (["put", "."], "can't read .: Is a directory"),
        (["put", "/dev/null"], "/dev/null is no regular file"),
        (["put", "-", "--name", "a/b"], "query.name"),
        (["get", str(uuid4())], "There is no such thing, or it is not yours"),
        (["get", str(uuid4()), "-o", "-", "--json"], "can't both go to standard output"),
        (["delete", str(uuid4())], "There is no such thing, or it is not yours"),
        (["list", "--cursor", "x"], "query.cursor: this is no cursor of ours"),
    ],
)
def test_what_is_wrong_is_one_line(ada: Heavylift, arguments: list[str], said: str) -> None:
    outcome = ada("files", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert is_one_line(outcome.err)
    assert said in outcome.err


def test_a_file_over_the_limit(ada: Heavylift, folder: Path) -> None:
    (folder / "big").write_bytes(bytes(1_000_001))
    outcome = ada("files", "put", "big")
    assert outcome.code == 2
    assert "The file is over the limit: 1000001 bytes declared" in outcome.err


def test_fetches_it_here_or_there(ada: Heavylift, file_id: str, folder: Path) -> None:
    outcome = ada("files", "get", file_id)
    assert outcome.err == "fetched notes.txt: text/plain, 700 bytes\n"
    (folder / "below").mkdir()
    assert ada("files", "get", file_id, "-o", "below").code == 0
    assert read(ada("files", "get", file_id, "-o", "named", "--json"))["name"] == "notes.txt"
    for path in ("notes.txt", "below/notes.txt", "named"):
        assert (folder / path).read_text() == TEXT
    assert [path.name for path in folder.rglob(".*")] == []
    outcome = ada("files", "get", file_id, "--output", "-")
    assert (outcome.code, outcome.out, outcome.err) == (0, TEXT, "")


def test_what_is_there_is_replaced_only_by_force(
    ada: Heavylift, file_id: str, folder: Path
) -> None:
    there = folder / "notes.txt"
    there.write_text("mine")
    outcome = ada("files", "get", file_id)
    assert outcome.code == 2
    assert "notes.txt is there already, and another file" in outcome.err
    assert there.read_text() == "mine"
    assert ada("files", "get", file_id, "--force").code == 0
    assert there.read_text() == TEXT
    # The same already: done.
    assert ada("files", "get", file_id).code == 0


def test_a_link_is_not_followed(ada: Heavylift, file_id: str, folder: Path) -> None:
    (folder / "victim").write_text("mine")
    (folder / "notes.txt").symlink_to("victim")
    assert ada("files", "get", file_id).code == 2
    assert ada("files", "get", file_id, "--force").code == 0
    assert (folder / "victim").read_text() == "mine"
    assert not (folder / "notes.txt").is_symlink()
    # Nor one where the beginning of a file would be.
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    (folder / f".{digest[:16]}.part").symlink_to("victim")
    assert ada("files", "get", file_id, "-o", "again").code == 2
    assert (folder / "victim").read_text() == "mine"


def test_an_empty_file(ada: Heavylift, folder: Path) -> None:
    file_id = ada("files", "put", "-", "--name", "empty").out.strip()
    assert ada("files", "get", file_id).code == 0
    assert (folder / "empty").read_bytes() == b""


def test_where_nothing_can_be_written(ada: Heavylift, file_id: str, folder: Path) -> None:
    (folder / "plain").write_text("no folder")
    for command, output in ((("files", "get"), "plain/a"), (("jobs", "result"), "plain")):
        outcome = ada(*command, file_id, "-o", output)
        assert (outcome.code, outcome.out) == (2, "")
        assert is_one_line(outcome.err)
        assert "plain" in outcome.err


def test_lists_and_deletes(ada: Heavylift, file_id: str) -> None:
    listed = ada("files", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["id", file_id]
    assert read(ada("files", "list", "--job", str(uuid4()), "--json"))["items"] == []
    outcome = ada("files", "delete", file_id)
    assert (outcome.code, outcome.err) == (0, f"deleted {file_id}\n")
    assert read(ada("files", "list", "--json"))["items"] == []
