"""Three heavy jobs on real input, through the real API: `make demo`."""

import signal
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import anyio
from rich.console import Console
from rich.markup import escape

from app.client import ClientError
from app.core.config import ConfigurationError
from app.embedded import EmbeddedError
from app.embedded.stack import Stack
from demo import inputs
from demo.inputs import Inputs, MissingInput
from demo.story import JobsFailed, tell

# Seconds for everything after the start; a laptop takes some ten.
DEADLINE = 300

LOG_LINES = 8


def main() -> int:
    console = Console(highlight=False)
    errors = Console(stderr=True, highlight=False)
    # As Ctrl-C: all of it is stopped and the folder removed. By SIGINT's handler: asyncio's own
    # cancels what runs; what another raises comes out of whichever task is at work.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with tempfile.TemporaryDirectory(prefix="hl-demo-") as scratch:
            folder = Path(scratch)
            # PostgreSQL's files belong to a user of its own where this one is root.
            folder.chmod(0o755)
            return demonstrate(console, errors, folder)
    except (EmbeddedError, ConfigurationError, MissingInput) as error:
        errors.print(f"[red]The demo can't run here:[/] {escape(str(error))}", soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print("Interrupted; everything is stopped.")
        return 130


def demonstrate(console: Console, errors: Console, folder: Path) -> int:
    console.print("[bold]Heavylift[/]: three heavy jobs on real input\n")
    given = Inputs(inputs.photograph(), inputs.page(), inputs.flights(folder))
    began = time.monotonic()
    with Stack(folder / "stack", durable=False) as stack:
        if not stack.wait_ready():
            errors.print("[red]The stack did not start.[/]")
            show_logs(errors, folder)
            return 1
        console.print(
            f"  PostgreSQL, Redis, API, controller, workers: up in {time.monotonic() - began:.1f} s"
        )
        try:
            anyio.run(told_in_time, console, stack.base_url, given)
        except JobsFailed as failed:
            errors.print(f"\n{failed}", style="red", markup=False, soft_wrap=True)
            return 1
        except (ClientError, TimeoutError) as error:
            said = escape(str(error) or type(error).__name__)
            errors.print(f"\n[red]The demo broke off:[/] {said}", soft_wrap=True)
            show_logs(errors, folder)
            return 1
    console.print(
        "\nEverything is stopped. `make up` starts it again and keeps it running;\n"
        "the API's documentation is then at http://127.0.0.1:8000/docs"
    )
    return 0


async def told_in_time(console: Console, url: str, given: Inputs) -> None:
    try:
        with anyio.fail_after(DEADLINE):
            await tell(console, url, given)
    except TimeoutError:
        raise TimeoutError(f"it took longer than {DEADLINE} s") from None


def show_logs(errors: Console, folder: Path) -> None:
    for log in sorted((folder / "stack" / "logs").glob("*.log")):
        errors.print(f"\n[bold]{log.stem}[/]")
        with log.open(errors="replace") as lines:
            for line in deque(lines, LOG_LINES):
                errors.print(f"  {line.rstrip()}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
