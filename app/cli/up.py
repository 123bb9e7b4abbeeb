import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from app.core.config import ConfigurationError, load_settings
from app.embedded.stack import SUPERVISOR, Sink, Stack, StopRequested, all_parts

STYLES = {"api": "cyan", "controller": "magenta", "worker-cpu": "green", "worker-io": "blue"}

NAME_WIDTH = 10


def console_log(console: Console) -> Sink:
    """Lines with the part's name before them; colours where the terminal has and wants them."""
    lock = Lock()

    def write(name: str, line: str) -> None:
        if not line:
            return
        style = "bold yellow" if name == SUPERVISOR else STYLES.get(name, "white")
        text = Text.assemble((f"{name:<{NAME_WIDTH}} | ", style), Text.from_ansi(line))
        with lock:
            console.print(text, soft_wrap=True)

    return write


@contextmanager
def working_folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    scratch = Path(tempfile.mkdtemp(prefix="heavylift-"))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def signals(stack: Stack) -> Iterator[str]:
    """Where each of the stack's signals is; nothing where they are not asked for."""
    if not stack.signal_ports:
        return
    for part, port in stack.signal_ports.items():
        yield f"metrics of {part}: http://127.0.0.1:{port}/metrics"
        if part == "controller":
            yield f"demand: http://127.0.0.1:{port}/demand"
    if stack.prometheus is None:
        yield "no prometheus on the PATH to scrape them with"
    else:
        yield f"prometheus: {stack.prometheus.url}/graph"
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
    where = os.environ.get(endpoint) or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    yield f"traces: {where or f'not exported, {endpoint} is not set'}"
    yield "logs: below; with HEAVYLIFT_LOG_FORMAT=json, one JSON object a line"


def up(
    data: Annotated[
        Path | None, typer.Option(help="Keep all state here between runs. Default: forget it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the API; 0: a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="Of the API.")] = "127.0.0.1",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Jobs at once in the pool cpu. Default: the cores.")
    ] = None,
    observe: Annotated[
        bool,
        typer.Option(
            "--observe",
            help="Serve each part's metrics, and scrape them with the prometheus on the PATH.",
        ),
    ] = False,
) -> None:
    """Run all of it here, with a PostgreSQL and a Redis of its own, until Ctrl-C."""
    if os.environ.get("HEAVYLIFT_ENVIRONMENT") == "production":
        raise ConfigurationError(
            "HEAVYLIFT_ENVIRONMENT is production, and `heavylift up` is not for it: run "
            "`heavylift api`, `worker` and `controller`"
        )
    settings = load_settings()
    log = console_log(Console(highlight=False))

    def say(line: str) -> None:
        with suppress(OSError):  # a terminal that is gone stops nothing
            log(SUPERVISOR, line)

    with working_folder(data) as folder:
        stack = Stack(
            folder,
            host=host,
            port=port,
            parts=all_parts(concurrency=concurrency, pools=settings.jobs.pools),
            durable=data is not None,
            sink=log,
            observe=observe,
        )
        # None of them raises: nothing that stops the stack can be interrupted half-way.
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda *_: stack.request_stop())
        outcome = 0
        try:
            say(f"starting in {stack.folder}")
            with stack:
                if stack.wait_ready():
                    for line in signals(stack):
                        say(line)
                    say(f"ready: {stack.base_url}/docs (Ctrl-C stops it)")
                outcome = stack.wait()
                say("stopping")
        except StopRequested:
            pass
        say("stopped")
    raise typer.Exit(outcome)
