"""Runs one job of a built-in kind and prints its CPU seconds and peak memory in MiB.

python bench/run_kind.py KIND SOURCE SPEC
"""

import json
import resource
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from uuid import UUID, uuid4

from worker.threads import limit_threads

limit_threads(1)

from app.jobs import FileId  # noqa: E402


class FolderContext:
    """A job's context over one folder, without a ledger and a store."""

    attempt = 1
    threads = 1

    def __init__(self, scratch: Path, source: Path) -> None:
        self.id: UUID = uuid4()
        self.scratch = scratch
        self._source = source

    def progress(self, fraction: float, message: str = "") -> None:
        pass

    def check(self) -> None:
        pass

    def input(self, file: FileId) -> Path:
        del file
        return self._source

    def output(self, path: Path, *, name: str, content_type: str) -> FileId:
        del path, name, content_type
        return FileId(int=uuid4().int)

    def effect(self) -> AbstractContextManager[None]:
        return nullcontext()


def main(name: str, source: str, spec: str) -> None:
    module, function = name.split(":")
    kind = getattr(import_module(f"worker.kinds.{module}"), function)
    accepted = kind.spec.model_validate({"source": str(uuid4())} | json.loads(spec))
    with tempfile.TemporaryDirectory() as scratch:
        kind(accepted, FolderContext(Path(scratch), Path(source)))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{time.process_time():.3f} {memory:.0f}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
