"""The images under test, and two made of them: with the test kinds, and a next version of that."""

import os
import shlex
from functools import cache

from tests.chart.rendering import ROOT
from tests.cluster.commands import run

IMAGES = os.environ.get("IMAGES", "docker.io/heavylift")
TAG = os.environ.get("TAG", "0.1.0")

# Tags of what is made here.
KINDS, NEXT = "kinds", "kinds-next"


def name(target: str, tag: str) -> str:
    return f"{IMAGES}/{target}:{tag}"


@cache
def make_images() -> None:
    """`BUILD` as `docker build` is called, `LOAD` with the names of images for the nodes."""
    build, load = (shlex.split(os.environ.get(one, "")) for one in ("BUILD", "LOAD"))
    assert build, "BUILD is not set: run `make cluster-test`"
    assert load, "LOAD is not set: run `make cluster-test`"
    made = []
    for targets, tag, base, dockerfile in (
        (("api", "worker", "loadtest"), KINDS, TAG, "Dockerfile"),
        (("api", "worker"), NEXT, KINDS, "next/Dockerfile"),
    ):
        for target in targets:
            image = name(target, tag)
            run(
                *build,
                *("--file", str(ROOT / "tests" / "cluster" / dockerfile)),
                *("--build-arg", f"IMAGE={name(target, base)}", "--tag", image),
                str(ROOT / "tests"),
            )
            made.append(image)
    run(*load, *made, limit=900)
