"""Progress as the events tell it: bars in a terminal, lines anywhere else."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from app.client import Event

COLOUR = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}

KIND_WIDTH = 18
STATE_WIDTH = 9


class Display(Protocol):
    def show(self, kind: str, event: Event) -> None: ...


def _state(event: Event) -> str:
    return f"[{COLOUR.get(event.state, 'white')}]{event.state:<{STATE_WIDTH}}[/]"


class _Bars:
    def __init__(self, progress: Progress, kinds: Sequence[str]) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {
            kind: progress.add_task(kind, total=1, state="", message="") for kind in kinds
        }

    def show(self, kind: str, event: Event) -> None:
        self._progress.update(
            self._tasks[kind],
            completed=event.progress,
            state=_state(event),
            message=escape(event.message),
        )


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, kind: str, event: Event) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        line = f"  {now}  {kind:<{KIND_WIDTH}} {event.progress:4.0%}  {_state(event)}"
        if event.message:
            line += f"  {escape(event.message)}"
        self._console.print(line, soft_wrap=True)


@contextmanager
def display(console: Console, kinds: Sequence[str]) -> Iterator[Display]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn(f"  {{task.description:<{KIND_WIDTH}}}"),
        BarColumn(20),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("[dim]{task.fields[message]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress, kinds)
