"""Makes temporary folders, checked by a write at first and removed at the end."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from app.core.config import ConfigurationError

# Bytes that a folder must take at least: one page.
LEAST = 4096


def make_folder(prefix: str, *, inside: Path | None = None, setting: str | None = None) -> Path:
    """Make a folder and try to write to it: in TMPDIR, or `inside` the folder that `setting` names.

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
    """Write a temporary file of `size` bytes. Raises `OSError` if the folder does not take it."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = size
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))


def remove_folder(folder: Path) -> None:
    """Remove the folder and its content as far as possible. Raises nothing."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        # Folders are nested deeper than Python's recursion limit; rm does not recurse.
        subprocess.run(["/bin/rm", "-rf", "--", folder], check=False, capture_output=True)  # noqa: S603
    except Exception:  # noqa: S110 - leftovers only take space
        pass


def unusable(name: str, folder: Path | None, error: OSError) -> ConfigurationError:
    if folder is None:
        # Python's own text lists all folders that it tried.
        return ConfigurationError(f"{name}: {error.strerror or error}: name one with space")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigurationError(f"{name}: can't write to {folder}: {reason}")
