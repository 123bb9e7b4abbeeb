from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer
from pydantic import TypeAdapter

from app.cli.files import save, upload
from app.cli.listing import DEFAULT_LIMIT, All, Cursor, Limit, collect, say_if_more
from app.cli.server import with_client
from app.cli.specification import put, read_specification, split
from app.cli.terminal import Json, moment, outcome, print_json, print_table, say, watching
from app.client import Client, ClientError, Event, Job, Refused, Submission, Unreachable
from app.client.answers import Page, Result, State
from app.client.api import Accepted

jobs = typer.Typer(help="Submit jobs, follow them, fetch what they made.", rich_markup_mode=None)

# Of a job that failed or was cancelled.
FAILED = 1

# What a shell gives to a command that Ctrl-C ended: 128 and SIGINT's number.
INTERRUPTED = 130

JobId = Annotated[UUID, typer.Argument(metavar="ID", help="The job's.", show_default=False)]

MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


@jobs.command()
def kinds(
    kind: Annotated[
        str | None, typer.Argument(help="Show the JSON Schema of this kind's specification.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the job kinds there are, or show one's schema."""
    if kind is not None:
        print_json(with_client(lambda client: client.schema(kind)))
        return
    found = with_client(lambda client: client.kinds())
    if as_json:
        print_json(found)
        return
    rows = [
        (each.name, each.pool, str(each.slots), each.waiting or "", each.summary)
        for each in found.items
    ]
    print_table(["kind", "pool", "slots ", "waiting", "does"], rows)


@jobs.command()
def submit(
    kind: Annotated[str, typer.Argument(help="As `jobs kinds` lists it.", show_default=False)],
    spec: Annotated[
        str | None,
        typer.Option(help="The specification, a JSON object: itself, @file, or - for stdin."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Put a value into the specification: `renditions.0.width=320`. Repeatable.",
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="FIELD=PATH",
            help="Store a file, and put its id into the specification. Repeatable.",
        ),
    ] = None,
    priority: Annotated[
        int, typer.Option(min=-100, max=100, help="Among your own jobs: higher goes first.")
    ] = 0,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Start it then: 2026-12-24T18:00.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The same key with the same specification is the same job, however often it is "
            "submitted; --file makes another specification each time. Default: a new one.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "--wait", help="Follow it until it has ended.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Submit a job, and print its id.

    With --watch, exit code 1 says that it failed or was cancelled.
    """
    try:
        due = not_before and MOMENT.validate_python(not_before).astimezone()
    # Beside a `ValidationError`: the local time of the first or the last day there is.
    except (ValueError, OverflowError):
        raise ClientError(f"--not-before {not_before}: write it as 2026-12-24T18:00") from None
    submission = Submission(
        spec=read_specification(spec, settings or []), priority=priority, not_before=due or None
    )
    key = idempotency_key or uuid4().hex
    if not (key.isascii() and key.isprintable()) or key != key.strip():
        raise ClientError("--idempotency-key: use printable ASCII, and no space at either end")
    accepted = _submitted(kind, submission, inputs or [], key)
    job = accepted.job
    if not as_json:
        if accepted.replayed and idempotency_key:
            say("it was submitted before: the same job")
        elif not watch:
            say(f"{job.kind} is {job.state}")
        typer.echo(job.id)
    if watch:
        ended = _watch(job.id, job.kind, each=None)
        if as_json:
            print_json(with_client(lambda client: client.job(job.id)))
        _exit_as(ended)
    elif as_json:
        print_json(job)


def _submitted(kind: str, submission: Submission, inputs: Sequence[str], key: str) -> Accepted:
    lost = f"whether it was accepted is not known: --idempotency-key {key} makes no second job"
    asked = False

    async def ask(client: Client) -> Accepted:
        nonlocal asked
        for given in inputs:
            field, path = split(given, "--file")
            file = await upload(client, Path(path), Path(path).name)
            put(submission.spec, field, str(file.id))
        asked = True
        return await client.submit(kind, submission, idempotency_key=key)

    try:
        return with_client(ask)
    except Unreachable as error:
        if not asked or error.unsent:
            raise
        raise ClientError(f"{error}; {lost}") from None
    except KeyboardInterrupt:
        if asked:
            say(lost)
        raise


@jobs.command()
def watch(job_id: JobId, as_json: Json = False) -> None:
    """Follow a job until it has ended. Exit code 1: it failed or was cancelled.

    With --json, one event a line.
    """
    kind = with_client(lambda client: client.job(job_id)).kind
    _exit_as(_watch(job_id, kind, each=_print_event if as_json else None))


def _print_event(event: Event) -> None:
    typer.echo(event.model_dump_json())


def _watch(job_id: UUID, kind: str, *, each: Callable[[Event], None] | None) -> Event:
    """Follow it to its end; returns the last event."""

    async def follow(client: Client) -> Event:
        with watching(kind) as show:
            async with aclosing(client.follow(job_id)) as events:
                async for event in events:
                    show(event)
                    if each is not None:
                        each(event)
                    if event.ended:
                        return event
        raise AssertionError("it is followed until it has ended")

    try:
        last = with_client(follow)
    except KeyboardInterrupt:
        say(f"{kind} goes on; `heavylift jobs watch {job_id}` follows it again")
        raise typer.Exit(INTERRUPTED) from None
    say(f"{kind} {outcome(last)}")
    return last


def _exit_as(last: Event) -> None:
    if last.state != State.SUCCEEDED:
        raise typer.Exit(FAILED)


@jobs.command("list")
def list_jobs(
    state: Annotated[list[State] | None, typer.Option(help="Only these. Repeatable.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    dead_letter: Annotated[
        bool | None,
        typer.Option("--dead-letter/--no-dead-letter", help="Only those given up, or none."),
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""

    async def ask(client: Client) -> Page[Job]:
        return await collect(
            lambda size, after: client.jobs(
                states=state or [], kind=kind, dead_letter=dead_letter, limit=size, cursor=after
            ),
            None if everything else limit,
            cursor,
        )

    page = with_client(ask)
    if as_json:
        print_json(page)
        return
    rows = [
        (str(job.id), job.kind, job.state, f"{job.progress:.0%}", moment(job.created_at), note(job))
        for job in page.items
    ]
    print_table(["id", "kind", "state", "done ", "submitted", ""], rows)
    say_if_more(page)


def note(job: Job) -> str:
    return job.error.code if job.error else job.waiting or job.message


@jobs.command()
def cancel(job_id: JobId, as_json: Json = False) -> None:
    """Cancel a job: at once if it waits; if it runs, as soon as it looks up."""
    job = with_client(lambda client: client.cancel(job_id))
    if as_json:
        print_json(job)
    else:
        say(f"{job.kind} {job.state}" if job.ended else f"{job.kind} is asked to stop")


@jobs.command()
def reconcile(
    cancel: Annotated[
        list[UUID] | None,
        typer.Option(metavar="ID", help="Cancel this job instead of listing all. Repeatable."),
    ] = None,
    cancel_kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Cancel all jobs of this kind instead.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a restored database would run, perhaps again, and cancel what must not be.

    For operators, while HEAVYLIFT_CONTROLLER_PAUSED holds dispatch back. It goes to the database
    that HEAVYLIFT_DATABASE_URL names, and to no server. Jobs with an attempt had begun before
    their database was dumped.
    """
    # With it comes what the server's parts load, and the client's commands do without.
    from app.cli.reconcile import reconcile as run

    run(cancel, cancel_kind, as_json=as_json)


@jobs.command()
def result(
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Fetch its files into this folder.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Print what a job has made, and fetch its files. Exit code 1: it did not succeed."""
    del as_json  # a result is JSON either way
    if output is not None:
        make_folder(output)
    try:
        print_json(with_client(partial(_result, job_id=job_id, folder=output, overwrite=force)))
    except Refused as refused:
        if not refused.is_about("job-has-no-result"):
            raise
        say(str(refused))
        raise typer.Exit(FAILED) from None


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClientError(f"can't make {folder}: {error.strerror}") from None


async def _result(client: Client, job_id: UUID, folder: Path | None, overwrite: bool) -> Result:
    found = await client.result(job_id)
    if folder is not None:
        await _fetch_outputs(client, job_id, folder, overwrite=overwrite)
    return found


async def _fetch_outputs(client: Client, job_id: UUID, folder: Path, *, overwrite: bool) -> None:
    made = await collect(
        lambda size, after: client.files(job_id=job_id, limit=size, cursor=after), None, None
    )
    names = [file.name for file in made.items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ClientError(
            f"several of its files are called {twice[0]}: `heavylift files get` fetches one"
        )
    for file in reversed(made.items):
        say(f"fetched {await save(client, file, folder, overwrite=overwrite)}")
