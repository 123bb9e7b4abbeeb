"""Folders for files that nothing needs after the process: tried first, removed at the end."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from app.core.config import ConfigurationError

# What a folder must hold at least (bytes): one page.
LEAST = 4096


def make_folder(prefix: str, *, inside: Path | None = None, setting: str | None = None) -> Path:
    """A new folder that can be written to: in TMPDIR, unless `setting` says where.

    Raises `ConfigurationError`.
    """
    name = setting or "TMPDIR"
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=inside))
    except OSError as error:
        raise unusable(name, inside, error) from None
    try:
        try_to_write(folder)
    except OSError as error:
        folder.rmdir()
        raise unusable(name, folder.parent, error) from None
    return folder


def try_to_write(folder: Path, size: int = LEAST) -> None:
    """Raises `OSError` if the folder does not take that many bytes."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))


def remove_folder(folder: Path) -> None:
    """Remove the folder and all that is in it, as far as that can be done. Raises nothing."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        # Folders in folders, deeper than Python calls functions; rm needs no stack for them.
        subprocess.run(["/bin/rm", "-rf", "--", folder], check=False, capture_output=True)  # noqa: S603
    except Exception:  # noqa: S110 - what is left takes space, no more
        pass


def unusable(name: str, folder: Path | None, error: OSError) -> ConfigurationError:
    if folder is None:
        # Python's own text lists all folders that it tried.
        return ConfigurationError(f"{name}: {error.strerror or error}: name one with space")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigurationError(f"{name}: can't write to {folder}: {reason}")
