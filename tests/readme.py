"""The code that the README tells a developer to write."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """What is below a heading, down to the next one."""
    found = re.split(rf"^##+ {title}$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert len(found) == 2, f"the README has no section {title!r}"
    return re.split(r"^##", found[1], maxsplit=1, flags=re.MULTILINE)[0]


def files_of(title: str) -> dict[str, str]:
    """The files of a section, by the paths that their first lines name."""
    return dict(BLOCK.findall(section(title)))


def lint(path: str, code: str) -> None:
    """As everything else here is."""
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={path}", "-"]
        checked = subprocess.run(ruff, input=code, text=True, cwd=ROOT, capture_output=True)
        assert checked.returncode == 0, f"{path}: {checked.stdout}{checked.stderr}"
