"""What the client's commands show: the answer on standard output, all else on standard error."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Literal

import typer
from pydantic import BaseModel, JsonValue, TypeAdapter
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from app.client import Event

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else there.")]

JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)

COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}

# Where no terminal folds them: as long as they are.
UNFOLDED = 10_000


def plain(text: str) -> str:
    """A server's words, of which none may steer the terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def say(text: str) -> None:
    typer.echo(plain(text), err=True)


def print_json(value: BaseModel | JsonValue) -> None:
    if isinstance(value, BaseModel):
        typer.echo(value.model_dump_json(indent=2))
    else:
        typer.echo(JSON.dump_json(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns whose name ends in a space are numbers."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNFOLDED)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids do not fold in a narrow terminal: other commands need a whole one.
        justify: Literal["right", "left"] = "right" if column.endswith(" ") else "left"
        table.add_column(column.strip(), justify=justify, overflow="fold", no_wrap=column == "id")
    for row in rows:
        table.add_row(*(Text(plain(cell), COLOURS.get(cell, "")) for cell in row))
    console.print(table)


def moment(when: datetime) -> str:
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def outcome(event: Event) -> str:
    why = f": {event.error.code}: {event.error.detail}" if event.error else ""
    return f"{event.state}{why}"


@contextmanager
def _progress(*columns: ProgressColumn) -> Iterator[Progress]:
    console = Console(stderr=True, highlight=False)
    # Not rich's own idea of a terminal, which FORCE_COLOR changes.
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        yield progress


@contextmanager
def transferring(name: str, size: int | None) -> Iterator[Callable[[int], None]]:
    """A bar, which the function that is given moves on by so many bytes."""
    text = TextColumn("{task.description}", markup=False)
    with _progress(text, BarColumn(30), DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(plain(name), total=size)
        yield lambda count: progress.advance(task, count)


@contextmanager
def watching(kind: str) -> Iterator[Callable[[Event], None]]:
    """A bar in a terminal; a line for each change of state anywhere else."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TextColumn("{task.fields[message]}", style="dim", markup=False),
    )
    with _progress(*columns) as progress:
        task = progress.add_task(kind, total=1, state="", message="")
        state = ""

        def show(event: Event) -> None:
            nonlocal state
            if progress.disable:
                if event.state != state and not event.ended:
                    say(f"{kind} {event.state}")
            else:
                colour = COLOURS.get(event.state, "default")
                progress.update(
                    task,
                    completed=event.progress,
                    state=f"[{colour}]{plain(event.state)}[/]",
                    message=plain(event.message),
                )
            state = event.state

        yield show
