"""What is in the images, seen from inside the pods."""

import json
import re
import tomllib
from typing import Any

from tests.chart.rendering import ROOT
from tests.cluster.release import Release
from tests.cluster.table import Table

LOOK = """
import importlib.metadata, json, os, re
from pathlib import Path
share = Path("/usr/share/heavylift")
bill = json.loads((share / "bom.cdx.json").read_text())
name = lambda text: re.sub("[-_.]+", "-", text).lower()
print(json.dumps({
    "user": [os.getuid(), os.getgid(), *os.getgroups()],
    "first": Path("/proc/1/cmdline").read_text().split(chr(0)),
    "installed": sorted(name(one.name) for one in importlib.metadata.distributions()),
    "format": bill["bomFormat"],
    "bill": sorted(name(one["name"]) for one in bill["components"]),
    "unlicensed": [one["name"] for one in bill["components"] if not one.get("licenses")],
    "licence": (share / "LICENSE").read_text(),
}))
"""


def look(release: Release, component: str) -> dict[str, Any]:
    pod = release.ready(component)[0]
    found: dict[str, Any] = json.loads(release.execute(pod, "python", "-c", LOOK))
    return found


def extra(name: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = (re.split(r"[^\w.-]", one)[0] for one in project["optional-dependencies"][name])
    return {re.sub("[-_.]+", "-", each).lower() for each in names}


def test_an_image_has_what_its_processes_need_and_says_so(release: Release, table: Table) -> None:
    with table.row("what is in the images") as row:
        images = {name: look(release, name) for name in ("api", "controller", "worker-io")}
        for name, image in images.items():
            assert set(image["user"]) == {10001}, name
            # No shell between the kubelet's signal and who obeys it.
            assert "python" in image["first"][0], name
            assert image["format"] == "CycloneDX"
            # The test kinds are on top of the image: they are in no bill.
            ours = {"heavylift", "heavylift-test-kinds"}
            assert set(image["installed"]) - ours == set(image["bill"]) - ours, name
            assert not image["unlicensed"], name
            assert image["licence"] == (ROOT / "LICENSE").read_text()
        heavy, api = extra("worker"), set(images["api"]["installed"])
        assert heavy
        assert not heavy & api
        assert heavy <= set(images["worker-io"]["installed"])
        workers = images["worker-io"]["installed"]
        row.saw(
            f"{len(api)} packages for the API, {len(workers)} for workers, each with its licence"
        )
