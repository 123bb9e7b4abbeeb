from typing import Annotated

import typer

from app.core.config import load_settings


def api(
    fd: Annotated[
        int | None, typer.Option(help="Serve on this descriptor, a socket that listens already.")
    ] = None,
) -> None:
    """Run the API until SIGTERM."""
    settings = load_settings()
    from app.server import serve

    raise typer.Exit(serve(settings, descriptor=fd))
