import os
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from app.core.config import MOST_AT_ONCE, PREFIX, ConfigurationError, Settings, load_settings
from app.core.descriptors import raise_limit
from app.core.scratch import make_folder
from app.embedded.grafana import HOME
from app.embedded.stack import (
    IO_SLOTS,
    OWN_SERVERS,
    SUPERVISOR,
    Part,
    Sink,
    Stack,
    StopRequested,
    all_parts,
)

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
        # The stack runs on without its terminal; rich would exit on a broken pipe.
        with lock, suppress(OSError, SystemExit):
            console.print(text, soft_wrap=True)

    return write


@contextmanager
def working_folder(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen
        return
    scratch = make_folder("heavylift-")
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
        yield f"alerts: {stack.prometheus.url}/alerts"
        if stack.grafana is not None:
            yield f"dashboards: {stack.grafana.url}/d/{HOME}"
        else:
            yield (
                "no grafana on the PATH; one that has the dashboards: "
                f"GF_PATHS_PROVISIONING={stack.provisioning} grafana server"
            )
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
    where = os.environ.get(endpoint) or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    yield f"traces: {where or f'not exported, {endpoint} is not set'}"
    yield "logs: below; with HEAVYLIFT_LOG_FORMAT=json, one JSON object a line"


# Settings that the stack can't obey, with the reason.
REFUSED = {
    **dict.fromkeys(OWN_SERVERS, "it starts PostgreSQL and Redis and stores files in its folder"),
    "SIGNALS_PORT": "each part needs a port of its own, which --observe chooses and prints",
}


def refuse_settings() -> None:
    """Raise `ConfigurationError` for settings that would have no effect here."""
    for name, reason in REFUSED.items():
        for variable in (f"{PREFIX}{name}", f"{PREFIX}{name}_FILE"):
            if variable in os.environ:
                raise ConfigurationError(
                    f"{variable} is set, but `heavylift up` can't use it: {reason}; unset it, or "
                    "run `heavylift api`, `worker` and `controller`"
                )


def parts(settings: Settings, concurrency: int | None) -> list[Part]:
    """The stack's parts. The option is for the pool cpu; the setting, if set, for all pools."""
    others = IO_SLOTS
    if "concurrency" in settings.worker.model_fields_set:
        others = settings.worker.concurrency
        concurrency = concurrency or others
    return all_parts(concurrency=concurrency, others=others, pools=settings.jobs.pools)


def write_environment(stack: Stack) -> Path:
    """Write a file for the shell that makes other commands use this stack's servers."""
    path = stack.folder / "env"
    variables = (f"{PREFIX}{name}" for name in OWN_SERVERS)
    path.write_text(
        "".join(
            f"export {variable}={shlex.quote(stack.environment[variable])}\n"
            for variable in variables
            if variable in stack.environment
        )
    )
    return path


def up(
    data: Annotated[
        Path | None, typer.Option(help="Keep all state here between runs. Default: forget it.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Of the API; 0: a free one. Default: HEAVYLIFT_API_PORT, 8000."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Of the API. Default: HEAVYLIFT_API_HOST, 127.0.0.1.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_AT_ONCE,
            help="Jobs at once in the pool cpu. Default: HEAVYLIFT_WORKER_CONCURRENCY, the cores.",
        ),
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
    refuse_settings()
    settings = load_settings()
    raise_limit()
    log = console_log(Console(highlight=False))

    def say(line: str) -> None:
        log(SUPERVISOR, line)

    with working_folder(data) as folder:
        stack = Stack(
            folder,
            host=settings.api.host if host is None else host,
            port=settings.api.port if port is None else port,
            parts=parts(settings, concurrency),
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
                    say(f"for `heavylift user create` and the like: . {write_environment(stack)}")
                    say(f"ready: {stack.base_url}/docs (Ctrl-C stops it)")
                outcome = stack.wait()
                say("stopping")
        except StopRequested:
            pass
        say("stopped")
    raise typer.Exit(outcome)
