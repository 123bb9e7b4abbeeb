"""The code that the README tells a developer to write."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def files_of(title: str) -> dict[str, str]:
    """The files of a section, by the paths that their first lines name."""
    _, heading, rest = (ROOT / "README.md").read_text().partition(f"\n### {title}\n")
    assert heading, f"the README has no section {title!r}"
    section = re.split(r"^##", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return dict(BLOCK.findall(section))


def lint(path: str, code: str) -> None:
    """As everything else here is."""
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--quiet", f"--stdin-filename={path}", "-"]
        checked = subprocess.run(ruff, input=code, text=True, cwd=ROOT, capture_output=True)
        assert checked.returncode == 0, f"{path}: {checked.stdout}{checked.stderr}"
