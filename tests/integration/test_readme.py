"""Every shell block of the README, as it is printed, one after the other, on one fresh stack."""

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from struct import pack
from time import monotonic

import pytest

from app.embedded.stack import free_port
from tests.processes import until
from tests.readme import ROOT, ShellBlock, shell_blocks
from tests.servers import scratch_folder

# What is not run here, and where it is.
ELSEWHERE = {
    "make demo": "tests/integration/test_demo.py",
    "make test": ".ci/run",
    "make load": "tests/load/test_load.py",
    "heavylift up --observe": "tests/chaos/test_up.py",
    "make images": "tests/cluster/test_from_nothing.py",
    "helm install heavylift helm/heavylift --wait": "tests/cluster/test_from_nothing.py",
    "helm test heavylift --logs": "tests/cluster/test_from_nothing.py",
}

UP = "make up DATA=$HOME/heavylift-data"
PROBLEM = "heavylift.dev/problems/"

PASSWORD = "correct horse battery"

# Seconds for one block: the machine may be busy.
PATIENCE = 180

VARYING = (
    (re.compile(r"\x1b\[[0-9;?]*[A-Za-z]"), ""),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "HEX"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "TIME"),
    # Process ids; and what follows from the number of cores.
    (re.compile(r"\b(pid|slots|database_connections|port)=\d+"), r"\1=N"),
    (re.compile(r'("seq":|^id: )\d+', re.MULTILINE), r"\1N"),
    # Encoders of other versions and machines make other bytes.
    (re.compile(r'"bytes": ?\d+'), '"bytes":N'),
    # Columns are as wide as what is in them.
    (re.compile(r" +"), " "),
)


def normal(text: str) -> list[str]:
    """Its lines without what differs from run to run."""
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


def is_varying(line: str) -> bool:
    """Bars move, a short job may not be seen to run, an ellipsis stands for what is left out."""
    return "━" in line or '"state":"running"' in line or line == "…"


def missing(shown: str, seen: str, *, ordered: bool = True) -> str | None:
    """The first line that the README shows and that did not come."""
    came = iter(normal(seen)) if ordered else normal(seen)
    for line in normal(shown):
        if not is_varying(line) and line not in came:
            return line
    return None


def runs_here(block: ShellBlock) -> bool:
    left_out = [command in ELSEWHERE for command in block.typed]
    assert all(left_out) or not any(left_out), f"line {block.line} is half run elsewhere"
    return not any(left_out)


def test_a_block_that_is_not_run_here_is_run_elsewhere() -> None:
    blocks = list(shell_blocks())
    assert len(blocks) >= 10
    typed = {command for block in blocks if not runs_here(block) for command in block.typed}
    assert typed == ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        assert (ROOT / place).exists()
    assert any(block.typed == [UP] for block in blocks)


class Terminal:
    """bash at a terminal, where commands follow each other as a reader types them."""

    PROMPT = "<<{}>>"

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._ours, theirs = pty.openpty()
        # Wide, so that nothing folds; and what is typed is not echoed.
        ioctl(theirs, termios.TIOCSWINSZ, pack("HHHH", 50, 250, 0, 0))
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "--noediting", "-i"],
            cwd=folder,
            env={**environment, "PS1": self.PROMPT.format("$?"), "PS2": ""},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._await_prompt()

    def run(self, command: str, *, refused: bool) -> str:
        """What it printed; a problem only where it is to be `refused`.

        A script runs in this shell, too: its variables stay.
        """
        if "\n" in command.replace("\\\n", ""):
            script = self._folder / "block.sh"
            script.write_text(command)
            command = f". {script}"
        os.write(self._ours, f"{command}\n".encode())
        seen, status = self._await_prompt()
        assert status == 0, f"{command}\n{seen}"
        assert (PROBLEM in seen) is refused, seen
        return seen

    def _await_prompt(self) -> tuple[str, int]:
        seen, answered, deadline = "", 0, monotonic() + PATIENCE
        while (prompt := re.search(self.PROMPT.format(r"(\d+)") + "$", seen)) is None:
            assert monotonic() < deadline, seen
            seen += os.read(self._ours, 65536).decode(errors="replace")
            asked = len(re.findall(r"(?:Password|Repeat for confirmation): ", seen))
            if asked > answered:
                answered = asked
                os.write(self._ours, f"{PASSWORD}\n".encode())
        return seen[: prompt.start()], int(prompt[1])

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._ours)


@contextmanager
def clone(folder: Path) -> Iterator[Path]:
    """The repository, and `.venv` as if each target had set it up; all else is new."""
    here = folder / "heavylift"
    (here / ".venv").mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".venv"):
            (here / entry.name).symlink_to(entry)
    for name in ("bin", "lib", "pyvenv.cfg"):
        (here / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for need in ("up", "demo", "load", "dev"):
        (here / ".venv" / f".ready-{need}").touch()
    yield here


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    with scratch_folder() as home:
        yield {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "TERM": "xterm",
        }


@contextmanager
def up(block: ShellBlock, here: Path, environment: dict[str, str]) -> Iterator[None]:
    """The stack, until the end."""
    [(command, shown)] = block.commands
    log = here / "up.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=here,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def left() -> str | None:
            seen = log.read_text().replace(environment["HOME"], "/home/ada")
            return missing(localised(shown, environment), seen, ordered=False)

        with suppress(AssertionError):
            until(lambda: left() is None, seconds=PATIENCE, what="all that the README shows")
        assert left() is None, f"{left()}\n{log.read_text()}"
        yield
    finally:
        # make and what it runs: as Ctrl-C at a terminal does.
        os.killpg(running.pid, signal.SIGINT)
        running.wait(PATIENCE)


def localised(text: str, environment: dict[str, str]) -> str:
    """With the port that the stack has: another one where the README's is taken."""
    return text.replace("127.0.0.1:8000", f"127.0.0.1:{environment['HEAVYLIFT_API_PORT']}")


@pytest.mark.slow
def test_every_block_runs_as_it_is_printed(environment: dict[str, str]) -> None:
    blocks = [block for block in shell_blocks() if runs_here(block)]
    environment["HEAVYLIFT_API_PORT"] = str(free_port(8000))
    environment["HEAVYLIFT_CLIENT_URL"] = localised("http://127.0.0.1:8000", environment)
    before = blocks.index(next(block for block in blocks if block.typed == [UP]))
    assert before == 0, "a block before `make up` wants a stack"
    with (
        clone(Path(environment["HOME"])) as here,
        up(blocks[0], here, environment),
    ):
        # Another terminal, which knows nothing of the first one.
        terminal = Terminal(here, environment)
        try:
            for block in blocks[1:]:
                for command, shown in block.commands:
                    seen = terminal.run(localised(command, environment), refused=PROBLEM in shown)
                    line = missing(localised(shown, environment), seen)
                    assert line is None, f"README line {block.line}: no {line!r} in\n{seen}"
        finally:
            terminal.close()
