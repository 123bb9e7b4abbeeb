"""What the demo does with the API, in the order in which it is told."""

import secrets
from collections.abc import Sequence
from datetime import timedelta

import anyio
from rich.console import Console
from rich.table import Table

from app.client import Bearer, Client, Job, Submission
from app.client.reading import file_body
from demo.display import Display, display
from demo.inputs import Inputs
from demo.jobs import Order, orders, size

EMAIL = "demo@example.com"


class JobsFailed(Exception):
    """One line for each that did."""


async def tell(console: Console, url: str, given: Inputs) -> None:
    """Raises `JobsFailed` and `ClientError`."""
    async with Client(url) as client:
        password = secrets.token_urlsafe()
        await client.register(EMAIL, password)
        token = await client.log_in(EMAIL, password)
        client.authenticate(Bearer(token.access_token))
        console.print(f"  registered {EMAIL} and logged in")
        ids = []
        for item in given:
            file = await client.upload(file_body(item.path), name=item.path.name)
            console.print(f"  uploaded {item.path.name}: {item.what}, {size(file.size)}")
            ids.append(file.id)

        console.print("\n[bold]Three jobs at once[/], each with its stream of events")
        asked = orders(*ids)
        jobs = await submit(client, asked)
        with display(console, [job.kind for job in jobs]) as shown:
            async with anyio.create_task_group() as group:
                for job in jobs:
                    group.start_soon(follow, client, job, shown)

        ended = [await client.job(job.id) for job in jobs]
        if failures := [job for job in ended if job.state != "succeeded"]:
            raise JobsFailed("\n".join(failure(job) for job in failures))
        for order, job in zip(asked, ended, strict=True):
            console.print(f"\n[bold]{job.kind}[/]")
            result = await client.result(job.id)
            await order.show(console, client, result.output)
        console.print()
        console.print(times(ended))


async def submit(client: Client, asked: Sequence[Order]) -> list[Job]:
    """All at once; in the order in which they were asked for."""
    accepted: dict[str, Job] = {}

    async def one(order: Order) -> None:
        submitted = await client.submit(order.kind, Submission(spec=order.spec))
        accepted[order.kind] = submitted.job

    async with anyio.create_task_group() as group:
        for order in asked:
            group.start_soon(one, order)
    return [accepted[order.kind] for order in asked]


async def follow(client: Client, job: Job, shown: Display) -> None:
    async for event in client.follow(job.id):
        shown.show(job.kind, event)


def failure(job: Job) -> str:
    why = f": {job.error.code}: {job.error.detail}" if job.error else ""
    return f"{job.kind} {job.state}{why}"


def times(ended: Sequence[Job]) -> Table:
    table = Table("job", box=None, pad_edge=False)
    table.add_column("waited", justify="right")
    table.add_column("ran", justify="right")
    for job in ended:
        parts = job.times() or ()
        table.add_row(job.kind, *(f"{part / timedelta(seconds=1):.2f} s" for part in parts))
    return table
