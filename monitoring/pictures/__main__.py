"""Draws each dashboard from the data of a Prometheus into a PNG file."""

import argparse
import sys
import time
from pathlib import Path

import httpx2

from monitoring.__main__ import FOLDER, ROOT
from monitoring.pictures.browser import NoChromium, Span, draw
from monitoring.pictures.bundle import NoBundle

DASHBOARDS = ROOT / FOLDER / "dashboards"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m monitoring.pictures", description=__doc__)
    add = parser.add_argument
    add("--prometheus", metavar="URL", required=True)
    add("--namespace", default="local")
    add("--release", default="heavylift")
    add("--minutes", type=float, default=15, help="how far back to draw, until --to")
    add("--from", type=float, dest="begun", metavar="SECONDS", help="since 1970; not --minutes")
    add("--to", type=float, dest="ended", metavar="SECONDS", help="since 1970; default: now")
    add("--out", type=Path, required=True, metavar="FOLDER")
    add("dashboard", nargs="*", help="default: all of them")
    chosen = parser.parse_args(arguments)
    ended = chosen.ended or time.time()
    begun = chosen.begun or ended - chosen.minutes * 60
    names = chosen.dashboard or sorted(path.stem for path in DASHBOARDS.glob("*.json"))
    try:
        pictures = draw(
            chosen.prometheus.rstrip("/"),
            [DASHBOARDS / f"{name}.json" for name in names],
            chosen.out,
            span=Span(begun, ended),
            chosen={"namespace": chosen.namespace, "release": chosen.release},
        )
    except (NoChromium, NoBundle) as missing:
        parser.error(str(missing))
    except httpx2.HTTPError as error:
        parser.error(f"{chosen.prometheus}: {error}")
    problems = []
    for picture in pictures:
        problems += [f"{picture.path.stem}: {problem}" for problem in picture.problems()]
        empty = picture.empty()
        print(
            f"{picture.path}: {len(picture.panels)} panels, {len(empty)} without data",
            *empty,
            sep="\n  ",
        )
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
