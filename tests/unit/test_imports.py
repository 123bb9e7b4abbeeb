"""The API process stays light: what only workers need is not even loaded."""

import json
import subprocess
import sys

import pytest

CREATE = """
import json, sys
from app.core.config import Settings
from app.main import create_app
create_app(Settings()).openapi()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules of a process that has made the API, with all installed kinds."""
    process = subprocess.run([sys.executable, "-c", CREATE], capture_output=True, check=False)
    assert process.returncode == 0, process.stderr.decode()
    return set(json.loads(process.stdout))


def test_the_kinds_themselves_are_loaded(loaded: set[str]) -> None:
    assert {"worker.kinds.dataset", "worker.kinds.image", "worker.kinds.text"} <= loaded


@pytest.mark.parametrize(
    "name",
    [
        # The kinds' libraries.
        "pyvips",
        "onnxruntime",
        "rapidocr",
        "polars",
        "numpy",
        "cv2",
        # Celery's worker side.
        "celery.worker",
        "celery.apps.worker",
        "celery.concurrency",
        "billiard.pool",
        # The worker's own machinery, and the embedded servers.
        "worker.celery",
        "worker.parent",
        "worker.controller",
        "app.embedded",
    ],
)
def test_the_api_does_not_load(loaded: set[str], name: str) -> None:
    assert [module for module in loaded if f"{module}.".startswith(f"{name}.")] == []
