"""Writes the generated files of monitoring; `--check` prints how they differ and exits with 1."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]

# All that is in here is generated: for the chart, and the same again for `heavylift up --observe`,
# which an installed wheel has as well.
FOLDER = Path("helm/heavylift/monitoring")
COPY = Path("app/embedded/monitoring")

# Each has `files()`: texts by their paths, relative to the root of the repository.
PARTS = ("monitoring.dashboards", "monitoring.rules")


def outputs() -> dict[Path, str]:
    found: dict[Path, str] = {}
    for part in PARTS:
        if find_spec(part) is not None:
            found |= import_module(part).files()
    copies = {
        COPY / path.relative_to(FOLDER): text
        for path, text in found.items()
        if path.is_relative_to(FOLDER)
    }
    return found | copies


def leftovers(files: Mapping[Path, str], root: Path) -> Iterator[Path]:
    """Files in the generated folders that nothing generates any more."""
    for folder in (FOLDER, COPY):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.relative_to(root) not in files:
                yield path.relative_to(root)


def differences(files: Mapping[Path, str], root: Path) -> Iterator[str]:
    """Lines of a unified diff, from what is committed to what is generated."""
    wanted = {**files, **dict.fromkeys(leftovers(files, root), "")}
    for path, text in sorted(wanted.items()):
        there = root / path
        committed = there.read_text() if there.exists() else ""
        yield from difflib.unified_diff(
            committed.splitlines(keepends=True),
            text.splitlines(keepends=True),
            fromfile=f"committed/{path}",
            tofile=f"generated/{path}",
        )


def write(files: Mapping[Path, str], root: Path) -> None:
    for path in leftovers(files, root):
        (root / path).unlink()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and compare instead")
    check = parser.parse_args(arguments).check
    files = outputs()
    if not check:
        write(files, root)
        return 0
    differing = list(differences(files, root))
    sys.stdout.writelines(differing)
    if differing:
        print("The generated files are out of date. Run `make monitoring`, and commit them.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
