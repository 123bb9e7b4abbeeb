"""As much of a list as is wanted, over as many pages as that takes."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from app.cli.terminal import say
from app.client.answers import Answer, Page
from app.client.api import PAGE

Item = TypeVar("Item", bound=Answer)

Limit = Annotated[int, typer.Option(min=1, help="As many as this, the newest first.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
Cursor = Annotated[
    str | None, typer.Option(help="Go on where a list with the same filters ended: `next_cursor`.")
]

DEFAULT_LIMIT = 20


async def collect(
    ask: Callable[[int, str | None], Awaitable[Page[Item]]], limit: int | None, cursor: str | None
) -> Page[Item]:
    """`limit` None: all there are. `ask` is told how many a page is to have, and its cursor."""
    items: list[Item] = []
    while True:
        page = await ask(PAGE if limit is None else min(limit - len(items), PAGE), cursor)
        items += page.items
        cursor = page.next_cursor
        if cursor is None or (limit is not None and len(items) >= limit):
            return page.model_copy(update={"items": items})


def say_if_more(page: Page[Item]) -> None:
    if page.next_cursor is not None:
        say("there are more: --limit or --all shows them")
