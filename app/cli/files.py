import hashlib
import sys
from functools import partial
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.filesize import decimal

from app.cli.listing import DEFAULT_LIMIT, All, Cursor, Limit, collect, say_if_more
from app.cli.server import with_client
from app.cli.terminal import Json, moment, print_json, print_table, say, transferring
from app.client import Client, ClientError, File
from app.client.answers import Page
from app.client.downloading import download, fetch, place
from app.client.reading import file_body
from app.core.text import is_unicode

files = typer.Typer(help="Store files, list them, fetch them.", rich_markup_mode=None)

STANDARD_STREAM = Path("-")

FileId = Annotated[UUID, typer.Argument(metavar="ID", help="The file's.", show_default=False)]


async def upload(client: Client, path: Path | None, name: str) -> File:
    """With a bar."""
    body = file_body(path)
    with transferring(name, body.size) as tell:
        return await client.upload(body, name=name, tell=tell)


async def save(client: Client, file: File, to: Path | None, *, overwrite: bool) -> Path:
    """With a bar; returns where it is."""
    target = place(file, to)
    with transferring(file.name, file.size) as tell:
        await download(client, file, target, overwrite=overwrite, tell=tell)
    return target


@files.command("put")
def put_file(
    path: Annotated[Path, typer.Argument(help="A file; - for standard input.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="What to call it. Default: as it is called.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Store a file, and print its id."""
    source = None if path == STANDARD_STREAM else path
    called = name or ("stdin" if source is None else path.name)
    if not is_unicode(called):
        raise ClientError(f"the file name {called!r} is not UTF-8: choose another with --name")
    file = with_client(partial(upload, path=source, name=called))
    if as_json:
        print_json(file)
    else:
        say(f"stored {file.name}: {file.content_type}, {decimal(file.size)}")
        typer.echo(file.id)


@files.command("get")
def get_file(
    file_id: FileId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A file, a folder, or - for standard output. Default: its own name, here.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a file: resumed where an earlier try broke off, and checked by its SHA-256."""
    if output == STANDARD_STREAM:
        if as_json:
            raise ClientError("--json and the file can't both go to standard output")
        with_client(partial(_write_out, file_id=file_id))
        return
    file, target = with_client(partial(_get, file_id=file_id, output=output, force=force))
    if as_json:
        print_json(file)
    else:
        say(f"fetched {target}: {file.content_type}, {decimal(file.size)}")


async def _get(
    client: Client, file_id: UUID, output: Path | None, force: bool
) -> tuple[File, Path]:
    file = await client.file(file_id)
    return file, await save(client, file, output, overwrite=force)


async def _write_out(client: Client, file_id: UUID) -> None:
    file = await client.file(file_id)
    digest = hashlib.sha256()

    def write(chunk: bytes) -> None:
        sys.stdout.buffer.write(chunk)
        digest.update(chunk)

    with transferring(file.name, file.size) as tell:
        await fetch(client, file, start=0, write=write, tell=tell)
    sys.stdout.buffer.flush()
    if digest.hexdigest() != file.sha256:
        raise ClientError(f"what came is not what {file.name} is: its SHA-256 differs")


@files.command("list")
def list_files(
    job: Annotated[UUID | None, typer.Option(help="Only what this job made.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List files, the newest first."""

    async def ask(client: Client) -> Page[File]:
        return await collect(
            lambda size, after: client.files(job_id=job, limit=size, cursor=after),
            None if everything else limit,
            cursor,
        )

    page = with_client(ask)
    if as_json:
        print_json(page)
        return
    rows = [
        (str(file.id), file.name, file.content_type, decimal(file.size), moment(file.created_at))
        for file in page.items
    ]
    print_table(["id", "name", "type", "size ", "stored"], rows)
    say_if_more(page)


@files.command("delete")
def delete_file(file_id: FileId, as_json: Json = False) -> None:
    """Delete a file that no unfinished job needs."""
    with_client(lambda client: client.delete_file(file_id))
    if as_json:
        print_json({"deleted": str(file_id)})
    else:
        say(f"deleted {file_id}")
