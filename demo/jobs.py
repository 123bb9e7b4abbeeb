"""The three jobs: what is asked for, and what is shown of the outcome."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.client import Client

Output = dict[str, Any]
Show = Callable[[Console, Client, Output], Awaitable[None]]

PREVIEW_ROWS = 5


@dataclass(frozen=True, slots=True)
class Order:
    kind: str
    spec: dict[str, Any]
    show: Show


def orders(photograph: UUID, page: UUID, flights: UUID) -> list[Order]:
    return [renditions(photograph), recognition(page), delays(flights)]


def size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


# --- the photograph ---------------------------------------------------------------------------

RENDITIONS = [
    {
        "name": "avatar",
        "format": "webp",
        "width": 96,
        "height": 96,
        "fit": "cover",
        "focus": "attention",
    },
    {"name": "web", "format": "jpeg", "width": 400},
    {"name": "turned", "format": "png", "rotate": 90},
    {"name": "retina", "format": "avif", "width": 2048, "enlarge": True},
    {"name": "poster", "format": "jpeg", "width": 4096, "enlarge": True},
]


def renditions(photograph: UUID) -> Order:
    spec = {"source": str(photograph), "renditions": RENDITIONS}
    return Order("image.transform", spec, show_renditions)


async def show_renditions(console: Console, client: Client, output: Output) -> None:
    table = Table("file", box=None, pad_edge=False)
    table.add_column("pixels", justify="right")
    table.add_column("size", justify="right")
    for rendition in output["renditions"]:
        file = await client.file(UUID(rendition["file"]))
        pixels = f"{rendition['width']} x {rendition['height']}"
        table.add_row(file.name, pixels, size(file.size))
    console.print(table)


# --- the scanned page -------------------------------------------------------------------------


def recognition(page: UUID) -> Order:
    return Order("text.extract", {"source": str(page)}, show_text)


async def show_text(console: Console, client: Client, output: Output) -> None:
    table = Table("certain", "text", box=None, pad_edge=False)
    for line in output["lines"]:
        table.add_row(f"{line['confidence']:.0%}", escape(line["text"]))
    console.print(table)
    for role in ("text", "details"):
        file = await client.file(UUID(output[role]))
        console.print(f"[dim]{file.name}, {size(file.size)}[/]")


# --- the flights ------------------------------------------------------------------------------


def delays(flights: UUID) -> Order:
    """Who came late, and from where: of the flights that arrived, by airline and airport."""
    spec = {
        "source": str(flights),
        "csv": {"null_values": ["NA"]},
        "filters": [{"op": "is_not_null", "column": "arr_delay"}],
        "group_by": ["carrier", "origin"],
        "aggregates": [
            {"op": "count", "name": "flights"},
            {"op": "n_unique", "column": "dest", "name": "destinations"},
            {"op": "mean", "column": "arr_delay", "name": "mean_delay"},
            {"op": "quantile", "quantile": 0.95, "column": "arr_delay", "name": "p95_delay"},
        ],
        "sort": [{"column": "flights", "descending": True}],
        "output_format": "csv",
    }
    return Order("dataset.aggregate", spec, show_delays)


async def show_delays(console: Console, client: Client, output: Output) -> None:
    table = Table(box=None, pad_edge=False)
    for column in output["columns"]:
        table.add_column(
            column["name"], justify="left" if column["dtype"] == "VARCHAR" else "right"
        )
    for row in output["preview"][:PREVIEW_ROWS]:
        table.add_row(*(escape(cell(value)) for value in row))
    console.print(table)
    file = await client.file(UUID(output["file"]))
    console.print(
        f"[dim]the first {PREVIEW_ROWS} of {output['rows_out']} rows, out of "
        f"{output['rows_in']:,}: {file.name}, {size(file.size)}[/]"
    )


def cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
