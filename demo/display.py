"""Progress as the events tell it: bars in a terminal, lines anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from demo.client import Event

COLOUR = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}


class Display(Protocol):
    def show(self, kind: str, event: Event) -> None: ...


def _state(event: Event) -> str:
    colour = COLOUR.get(event.state, "white")
    return f"[{colour}]{event.state}[/]"


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, kind: str, event: Event) -> None:
        if kind not in self._tasks:
            self._tasks[kind] = self._progress.add_task(kind, total=1, state="", message="")
        self._progress.update(
            self._tasks[kind],
            completed=event.progress,
            state=_state(event),
            message=event.message,
        )


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console

    def show(self, kind: str, event: Event) -> None:
        now = datetime.now().astimezone().strftime("%H:%M:%S")
        line = f"  {now}  {kind:<18} {event.progress:4.0%}  {_state(event):<9}  {event.message}"
        self._console.print(line.rstrip())


@contextmanager
def display(console: Console) -> Iterator[Display]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("  {task.description:<18}"),
        BarColumn(24),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("[dim]{task.fields[message]}", markup=True),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)
