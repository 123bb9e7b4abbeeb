"""The commands in the runbooks and in docs/operations.md, as a shell would read them."""

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

RUNBOOKS = Path(__file__).parents[1] / "docs" / "runbooks"
OPERATIONS = RUNBOOKS.parent / "operations.md"

BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = "$ "
INLINE = re.compile(r"`([^`\n]+)`")

# What a reader fills in.
VARIABLES = {
    "$JOB": "01a20609-218c-79ba-b28a-b1f20ae365a9",
    "$KIND": "image.transform",
    "$POD": "heavylift-worker-cpu-0",
    "$POOL": "cpu",
}

# Between two commands of a line.
SEPARATORS = frozenset({"|", "&", "&&", ";", ">"})

Command = tuple[str, ...]


def _split(line: str) -> Iterator[Command]:
    for name, value in VARIABLES.items():
        line = line.replace(name, value)
    command: list[str] = []
    for word in shlex.split(line, comments=True):
        if word not in SEPARATORS:
            command.append(word)
            continue
        yield tuple(command)
        # What follows is a file's name.
        command = [] if word != ">" else ["cat"]
    if command:
        yield tuple(command)


def _nested(command: Command) -> Iterator[Command]:
    """The command, and what `kubectl exec` runs by it."""
    yield command
    if command[:2] == ("kubectl", "exec") and "--" in command:
        yield command[command.index("--") + 1 :]


def _typed(language: str, block: str) -> Iterator[str]:
    """What a reader types; the rest of a `console` block is output."""
    for line in block.splitlines():
        if language == "sh":
            yield line
        elif line.startswith(PROMPT):
            yield line.removeprefix(PROMPT)


def commands(text: str) -> Iterator[Command]:
    """Every command of a page's blocks, and those that stand in a sentence."""
    lines = [line for language, block in BLOCK.findall(text) for line in _typed(language, block)]
    prose = BLOCK.sub("", text)
    first = ("heavylift ", "kubectl ", "helm ", "psql ")
    lines += [one for one in INLINE.findall(prose) if one.startswith(first)]
    for line in lines:
        if re.fullmatch(r"[A-Z]+=\S+", line.strip()):
            continue
        for command in _split(line):
            yield from _nested(command)


def options(command: Sequence[str], name: str) -> Iterator[str]:
    """Values of an option, written as `--name value` or `--name=value`."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == name:
            yield following
        elif word.startswith(f"{name}="):
            yield word.removeprefix(f"{name}=")


def statements(text: str) -> Iterator[str]:
    """The SQL that a page gives to psql."""
    for command in commands(text):
        if command[0] == "psql":
            yield from options(command, "-c")
