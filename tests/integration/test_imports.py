"""What each process loads: nothing heavy in the API, nor in a worker's parent."""

import json
import subprocess
import sys

HEAVY = ("pyvips", "onnxruntime", "rapidocr", "polars", "numpy", "cv2")

SHOW = "; import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded_by(program: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", program + SHOW], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_workers_parent_loads_no_heavy_library() -> None:
    modules = loaded_by(
        "import worker.main, worker.controller.main; from app.core.config import Settings;"
        "worker.main.installed_kinds(Settings())"
    )
    assert "worker.kinds.image" in modules
    assert modules.isdisjoint(HEAVY)
    # It knows no HTTP either.
    assert modules.isdisjoint({"fastapi", "starlette", "uvicorn", "app.main"})
