"""The plain manifests are the chart's."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.chart.rendering import ROOT, program

pytestmark = pytest.mark.chart

# Rendered, of what is in k8s/.
RENDERED = {
    "base/heavylift.yaml",
    "components/bundled/servers.yaml",
    "components/keda/scaledobjects.yaml",
    "components/monitoring/monitors.yaml",
    "smoke/smoke.yaml",
}


def test_they_are_what_the_chart_renders(tmp_path: Path) -> None:
    """`make manifests` after each change of the chart."""
    path = f"{Path(program('helm')).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        [ROOT / "k8s" / "render", tmp_path], env={**os.environ, "PATH": path}, check=True
    )
    rendered = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.yaml")}
    assert rendered == RENDERED
    for name in rendered:
        assert (tmp_path / name).read_text() == (ROOT / "k8s" / name).read_text(), name
