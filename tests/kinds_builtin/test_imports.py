import subprocess
import sys

import pytest

HEAVY = [
    "PIL",
    "duckdb",
    "pi_heif",
    "pypdfium2",
    "pyvips",
    "numpy",
    "cv2",
    "onnxruntime",
    "rapidocr",
]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("module", ["image", "text", "dataset"])
@pytest.mark.slow
def test_declaring_a_kind_loads_nothing_heavy(module: str) -> None:
    done = run(
        f"import sys, worker.kinds.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_threads_are_limited() -> None:
    done = run(
        "from worker.threads import limit_threads; limit_threads(1)\n"
        "import pyvips; print(pyvips.concurrency_get())"
    )
    assert done.stdout.split() == ["1"], done.stderr


def test_a_limit_that_comes_too_late_is_refused() -> None:
    done = run("import duckdb; from worker.threads import limit_threads; limit_threads(1)")
    assert "already imported" in done.stderr
    assert "duckdb" in done.stderr


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("image:transform", "image.transform"),
        ("text:extract", "text.extract"),
        ("dataset:aggregate", "dataset.aggregate"),
    ],
)
def test_a_kind_is_declared_where_the_entry_point_looks(module: str, kind: str) -> None:
    from importlib import import_module

    from app.jobs import JobKind

    file, name = module.split(":")
    declared = getattr(import_module(f"worker.kinds.{file}"), name)
    assert isinstance(declared, JobKind)
    assert (declared.name, declared.pool) == (kind, "cpu")
    assert declared.summary.endswith(".")
    assert declared.spec.model_json_schema()
    assert declared.result.model_json_schema(mode="serialization")
