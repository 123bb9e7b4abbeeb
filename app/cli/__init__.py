"""The command `heavylift`. Every subcommand is loaded when it is run, and only then."""

from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from app.core.mendable import Mendable
from app.core.stdio import complain, open_streams
from app.core.text import is_unicode

GROUP = "heavylift.commands"

BUILT_IN = [
    EntryPoint("api", "app.cli.api:api", GROUP),
    EntryPoint("config", "app.cli.config:config", GROUP),
    EntryPoint("files", "app.cli.files:files", GROUP),
    EntryPoint("jobs", "app.cli.jobs:jobs", GROUP),
    EntryPoint("login", "app.cli.login:login", GROUP),
    EntryPoint("logout", "app.cli.login:logout", GROUP),
    EntryPoint("migrate", "app.cli.migrate:migrate", GROUP),
    EntryPoint("smoke", "app.cli.smoke:smoke", GROUP),
    EntryPoint("up", "app.cli.up:up", GROUP),
    EntryPoint("user", "app.cli.user:user", GROUP),
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
        loaded = entry.load()
        if isinstance(loaded, typer.Typer):
            return _checked(typer.main.get_group(loaded))
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(loaded)
        return _checked(typer.main.get_command(alone))


def _checked(command: Any) -> Any:
    """Let the command, and each below it, refuse text that is not UTF-8; a path may be any bytes.

    Such text could be neither sent nor stored.
    """
    called = command.callback

    def check(**values: Any) -> Any:
        for parameter in command.params:
            value = values.get(parameter.name)
            texts = value if isinstance(value, list) else [value]
            if not all(is_unicode(text) for text in texts if isinstance(text, str)):
                name = parameter.get_error_hint().replace("'", "")
                raise Mendable(f"{name}: not UTF-8; convert it to UTF-8")
        return called(**values)

    if called is not None:
        command.callback = check
    for below in getattr(command, "commands", {}).values():
        _checked(below)
    return command


cli = typer.Typer(
    name="heavylift",
    cls=Subcommands,
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
    """Heavy work off the request path: the API, its workers, its controller, and their client.

    Settings come from HEAVYLIFT_* variables: `heavylift config` lists them. The client's commands
    (login, jobs, files, smoke) need none: they go by HTTP to wherever `heavylift login` went.
    """


def main() -> int:
    """One line on stderr and exit code 2 for whatever its user can mend; 130 after Ctrl-C."""
    open_streams()
    try:
        outcome = typer.main.get_command(cli)(prog_name="heavylift", standalone_mode=False)
    except Mendable as error:
        reason = str(error)
    except typer.Abort:  # Ctrl-C or Ctrl-D where something is asked for
        return 130
    except typer.TyperException as error:
        where = getattr(error, "ctx", None)
        command = where.command_path if where else "heavylift"
        reason = f"{error.format_message()} (see `{command} --help`)"
    else:
        return int(outcome or 0)
    complain(reason)
    return 2
