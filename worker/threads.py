"""A slot's honest share of the machine: how many threads the heavy libraries may start."""

import os
import sys

# Each library reads its variable once, when it is loaded, and otherwise takes every core it sees.
VARIABLES = (
    "VIPS_CONCURRENCY",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
HEAVY = ("duckdb", "pyvips", "onnxruntime", "cv2")


def limit_threads(threads: int) -> None:
    """Bound the libraries that this process will import; call it before any of them is.

    Two have no variable and are bounded by the kind that uses them: onnxruntime by its sessions'
    options, OpenCV by `cv2.setNumThreads`. Raises `RuntimeError` when it comes too late.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    if loaded := [name for name in HEAVY if name in sys.modules]:
        raise RuntimeError(f"already imported, their threads can't be limited: {', '.join(loaded)}")
    for variable in VARIABLES:
        os.environ[variable] = str(threads)
