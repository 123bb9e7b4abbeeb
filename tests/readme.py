"""What the README tells its readers to write and to run."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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


FENCED = re.compile(r"^```(?P<language>\w*)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class ShellBlock:
    """A block for the shell: its commands, each with the output that is shown for it.

    A script (```sh) is one command; its output is the block without a language behind it.
    """

    line: int
    commands: tuple[tuple[str, str], ...]

    @property
    def typed(self) -> list[str]:
        """Each command, without comments."""
        lines = "\n".join(command for command, _ in self.commands).replace("\\\n", "").splitlines()
        return [typed for line in lines if (typed := line.partition(" #")[0].strip())]


def shell_blocks() -> Iterator[ShellBlock]:
    """Those of the README, from its first line to its last."""
    text = (ROOT / "README.md").read_text()
    found = list(FENCED.finditer(text))
    for block, following in zip(found, [*found[1:], None], strict=True):
        line = text.count("\n", 0, block.start()) + 1
        if block["language"] == "console":
            yield ShellBlock(line, tuple(_session(block["content"])))
        elif block["language"] in ("sh", "bash", "shell"):
            shown = following["content"] if following and not following["language"] else ""
            yield ShellBlock(line, ((block["content"], shown),))


def _session(content: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
        match = re.match(r"(?:.*\\\n)*.*\n", part)
        assert match is not None, part
        yield match[0].strip(), part[match.end() :]
