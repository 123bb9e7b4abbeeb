"""`heavylift jobs reconcile`: the one command of its group that goes to the database itself."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import typer
from pydantic import TypeAdapter
from sqlalchemy import Connection, Engine

from app.cli.database import reached
from app.cli.terminal import moment, print_table, say
from app.core.config import ConfigurationError, load_settings
from app.core.db import sync_engine
from app.models.job import JobState
from app.services import reconcile as service
from app.services.ledger import Retention
from app.services.reconcile import Unfinished

# Jobs that are read, and cancelled, in one transaction: some 0.3 s of it.
PAGE = 200

FIRST = UUID(int=0)

JOB: TypeAdapter[Unfinished] = TypeAdapter(Unfinished)
COUNTS: TypeAdapter[list[dict[str, str | int]]] = TypeAdapter(list[dict[str, str | int]])

Pages = Iterator[Sequence[Unfinished]]
Counts = Counter[tuple[str, JobState]]


def reconcile(jobs: Sequence[UUID] | None, kind: str | None, *, as_json: bool) -> None:
    """List what would run; with `jobs` or a `kind`, cancel those and list them as they then are."""
    if jobs and kind is not None:
        raise ConfigurationError("--cancel and --cancel-kind: one of them at a time")
    settings = load_settings(used=("database",))
    keep = Retention.configured(settings) if jobs or kind is not None else None
    engine = sync_engine(settings.database)
    try:
        if jobs:
            _check_jobs(engine, jobs)
        if kind is not None:
            _check_kind(engine, kind)
        counts: Counts = Counter()
        pages = _counted(_pages(engine, jobs or None, kind, keep), counts)
        if as_json:
            _print_document(pages, counts)
        else:
            _print_tables(pages)
            typer.echo(_summary(counts, cancelled=keep is not None))
    finally:
        engine.dispose()
    if jobs and (ended := len(set(jobs)) - counts.total()):
        say(f"{ended} had ended before, or were asked to")


@contextmanager
def _transaction(engine: Engine) -> Iterator[Connection]:
    with reached(), engine.begin() as connection:
        yield connection


def _check_jobs(engine: Engine, jobs: Sequence[UUID]) -> None:
    """Behind an id that is mistyped is a job that would run again: then none is cancelled."""
    with _transaction(engine) as connection:
        unknown = service.unknown(connection, jobs)
    if unknown:
        raise ConfigurationError(f"--cancel {unknown[0]}: there is no such job; none is cancelled")


def _check_kind(engine: Engine, kind: str) -> None:
    with _transaction(engine) as connection:
        found = service.has_kind(connection, kind)
    if not found:
        raise ConfigurationError(f"--cancel-kind {kind}: no job of this kind would run")


def _pages(
    engine: Engine, jobs: Sequence[UUID] | None, kind: str | None, keep: Retention | None
) -> Pages:
    """What would run; with `keep`, cancelled page by page."""
    after: UUID | None = FIRST
    while after is not None:
        with _transaction(engine) as connection:
            page = service.unfinished(connection, after=after, limit=PAGE, jobs=jobs, kind=kind)
            found = page.jobs if keep is None else service.cancel(connection, page.jobs, keep=keep)
        after = page.last
        if found:
            yield found


def _counted(pages: Pages, counts: Counts) -> Pages:
    for page in pages:
        counts.update((job.kind, job.state) for job in page)
        yield page


def _print_document(pages: Pages, counts: Counts) -> None:
    """One document, written as it is read: a line for each job."""
    separator = ""
    typer.echo('{"jobs": [', nl=False)
    for page in pages:
        lines = ",\n".join(JOB.dump_json(job).decode() for job in page)
        typer.echo(f"{separator}\n{lines}", nl=False)
        separator = ","
    counted: list[dict[str, str | int]] = [
        {"kind": kind, "state": state, "count": count}
        for (kind, state), count in sorted(counts.items())
    ]
    typer.echo(f'\n], "counts": {COUNTS.dump_json(counted).decode()}}}')


def _print_tables(pages: Pages) -> None:
    for page in pages:
        rows = [
            (
                *(str(job.id), job.kind, job.pool, str(job.owner_id), job.state, str(job.attempt)),
                moment(job.started_at) if job.started_at else "",
                moment(job.submitted_at),
            )
            for job in page
        ]
        columns = ["id", "kind", "pool", "owner", "state", "attempt ", "started", "submitted"]
        print_table(columns, rows)


def _summary(counts: Counts, *, cancelled: bool) -> str:
    total = counts.total()
    said = f"{total:,} job{'' if total == 1 else 's'} {'cancelled' if cancelled else 'would run'}"
    if not counts:
        return said
    by_kind: dict[str, list[str]] = {}
    for (kind, state), count in sorted(counts.items()):
        by_kind.setdefault(kind, []).append(f"{count:,} {state}")
    said += ": " + "; ".join(f"{kind} {', '.join(states)}" for kind, states in by_kind.items())
    if cancelled and any(state == JobState.RUNNING for _, state in counts):
        said += " (held by live workers, which are asked to stop)"
    return said
