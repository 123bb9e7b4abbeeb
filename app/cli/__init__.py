"""The command `heavylift`. Every subcommand is loaded when it is run, and only then."""

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from app.core.config import ConfigurationError
from app.embedded.process import EmbeddedError

GROUP = "heavylift.commands"

BUILT_IN = [
    EntryPoint("api", "app.cli.api:api", GROUP),
    EntryPoint("config", "app.cli.config:config", GROUP),
    EntryPoint("migrate", "app.cli.migrate:migrate", GROUP),
    EntryPoint("up", "app.cli.up:up", GROUP),
]


class Subcommands(TyperGroup):
    """The built-in ones, and those that other packages declare: the worker's, a company's own."""

    def _found(self) -> dict[str, EntryPoint]:
        installed = {entry.name: entry for entry in entry_points(group=GROUP)}
        return installed | {entry.name: entry for entry in BUILT_IN}

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self._found())

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = self._found().get(cmd_name)
        if entry is None:
            return None
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(entry.load())
        return typer.main.get_command(alone)


cli = typer.Typer(
    name="heavylift",
    cls=Subcommands,
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(version("heavylift"))
        raise typer.Exit


@cli.callback()
def heavylift(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Heavy work off the request path: the API, its workers and its controller.

    Settings come from HEAVYLIFT_* variables: `heavylift config` lists them.
    """


def main() -> int:
    """One line on stderr and exit code 2 for whatever its user can mend."""
    try:
        outcome = typer.main.get_command(cli)(prog_name="heavylift", standalone_mode=False)
    except (ConfigurationError, EmbeddedError) as error:
        reason = str(error)
    except typer.TyperException as error:
        reason = f"{error.format_message()} (see `heavylift --help`)"
    else:
        return int(outcome or 0)
    print("heavylift:", *reason.split(), file=sys.stderr)  # noqa: T201
    return 2
