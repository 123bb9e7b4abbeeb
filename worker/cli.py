"""`heavylift worker` and `heavylift controller`."""

from typing import Annotated

import typer

from app.core.config import MOST_AT_ONCE, load_settings
from app.core.descriptors import raise_limit
from app.core.logging import configure_logging, log_crashes
from app.core.stdio import keep_streams

# Of what production must be told; neither signs anything.
USED = ("database", "redis", "storage")


def worker(
    pool: Annotated[str, typer.Option(help="The pool to serve: a queue of its own.")] = "cpu",
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_AT_ONCE,
            help="Slots: jobs at once. Default: HEAVYLIFT_WORKER_CONCURRENCY.",
        ),
    ] = None,
) -> None:
    """Run the jobs of one pool until told to stop.

    SIGTERM drains: what can finishes, the rest is put back before HEAVYLIFT_WORKER_DRAIN seconds
    are over; a second SIGTERM puts it back at once.
    """
    from worker.main import run_worker

    settings = load_settings(USED)
    configure_logging(settings.log)
    keep_streams()
    log_crashes()
    raise_limit()
    raise typer.Exit(run_worker(settings, pool, concurrency or settings.worker.concurrency))


def controller() -> None:
    """Dispatch, rescue and clean up, beside any number of others that do the same."""
    from worker.controller.main import run_controller

    settings = load_settings(USED)
    configure_logging(settings.log)
    keep_streams()
    log_crashes()
    raise_limit()
    raise typer.Exit(run_controller(settings))
