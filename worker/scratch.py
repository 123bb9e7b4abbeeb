"""Removes folders that jobs have worked in."""

import shutil
import subprocess
from pathlib import Path


def remove_folder(folder: Path) -> None:
    """Remove the folder and all that is in it, as far as that can be done. Raises nothing."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        # Folders in folders, deeper than Python calls functions; rm needs no stack for them.
        subprocess.run(["/bin/rm", "-rf", "--", folder], check=False, capture_output=True)  # noqa: S603
    except Exception:  # noqa: S110 - what is left takes space, no more
        pass
