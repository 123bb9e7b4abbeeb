import asyncio
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError
from sqlalchemy.ext.asyncio import async_sessionmaker

from app.cli.database import reached
from app.cli.password import PasswordStdin, ask_password, has_terminal, read_password
from app.core.config import ConfigurationError, Database, load_settings
from app.core.db import async_engine
from app.core.errors import DomainError
from app.core.security import PasswordHashing
from app.core.transaction import transaction
from app.schemas.user import UserCreate, UserResponse
from app.services import users

user = typer.Typer(
    name="user", help="The users in the database.", add_completion=False, rich_markup_mode=None
)


# So that it is a group with one command, not that command.
@user.callback()
def group() -> None:
    pass


@user.command()
def create(
    email: Annotated[str, typer.Argument(help="The e-mail address.")],
    admin: Annotated[bool, typer.Option("--admin", help="An admin: may manage users.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Create a user in the database.

    The password is asked for; without a terminal, it is read from standard input.
    """
    settings = load_settings()
    asked = has_terminal() and not password_stdin
    new = _new_user(email, ask_password(twice=True) if asked else read_password())
    with reached():
        created = asyncio.run(_create(settings.database, new, is_admin=admin))
    typer.echo(f"created {created.email}{', an admin' if admin else ''}: {created.id}")


def _new_user(email: str, password: str) -> UserCreate:
    try:
        return UserCreate(email=email, password=SecretStr(password))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigurationError(f"{first['loc'][0]}: {first['msg']}") from None


async def _create(database: Database, new: UserCreate, *, is_admin: bool) -> UserResponse:
    engine = async_engine(database)
    try:
        with PasswordHashing(1) as passwords:
            async with transaction(async_sessionmaker(engine)) as session:
                return await users.create(session, passwords, new, is_admin=is_admin)
    except DomainError as error:
        raise ConfigurationError(f"{error.title}: {error.detail}") from None
    finally:
        await engine.dispose()
