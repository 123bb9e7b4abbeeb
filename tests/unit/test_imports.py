"""The API, a worker's parent and a controller stay light: what they do not need is not loaded."""

import json
import subprocess
import sys

import pytest

API = "from app.main import create_app; create_app(Settings()).openapi()"
PARENT = (
    "import worker.main, worker.controller.main, worker.threads;"
    "worker.main.installed_kinds(Settings()); worker.threads.limit_threads(1)"
)

SHOW = "import json, sys; print(json.dumps(sorted(sys.modules)))"

HEAVY = [
    "PIL",
    "duckdb",
    "pi_heif",
    "pypdfium2",
    "pyvips",
    "onnxruntime",
    "rapidocr",
    "numpy",
    "cv2",
]
WORKERS_OWN = [
    "celery.worker",
    "celery.apps.worker",
    "celery.concurrency",
    "billiard.pool",
    "worker.celery",
    "worker.parent",
    "worker.controller",
]
HTTP = ["fastapi", "starlette", "uvicorn", "app.main", "app.api"]


def modules_of(program: str) -> set[str]:
    """The modules of a process that has run it, with all installed kinds."""
    code = f"from app.core.config import Settings; {program}; {SHOW}"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert process.returncode == 0, process.stderr.decode()
    return set(json.loads(process.stdout))


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        pytest.param(API, [*HEAVY, *WORKERS_OWN, "app.embedded"], id="api"),
        pytest.param(PARENT, [*HEAVY, *HTTP, "app.embedded", "lightkube"], id="parent"),
    ],
)
@pytest.mark.slow
def test_what_a_process_does_not_load(program: str, unwanted: list[str]) -> None:
    loaded = modules_of(program)
    # The kinds themselves are there, or the test shows nothing.
    assert {"worker.kinds.dataset", "worker.kinds.image", "worker.kinds.text"} <= loaded
    assert {
        name for name in unwanted if any(f"{module}.".startswith(f"{name}.") for module in loaded)
    } == set()
