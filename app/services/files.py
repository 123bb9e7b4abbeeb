"""Files: a row before the first byte is stored, and until the last one is gone."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import anyio
import obstore
import structlog
from obstore.store import ObjectStore
from sqlalchemy import ColumnElement, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.config import Files
from app.core.errors import (
    FileInUse,
    FileTooLarge,
    Gone,
    NotFound,
    Unavailable,
    UploadIncomplete,
    UploadTooSlow,
)
from app.core.pagination import PageRequest
from app.core.storage import STORE_ERRORS, remove
from app.core.transaction import Sessions, transaction
from app.models import File, JobFile
from app.models.file import FileState
from app.schemas.file import FileFilters, FileResponse
from app.schemas.page import Page
from app.services.content_type import sniff

log = structlog.get_logger(__name__)

# An upload is read in blocks: smaller ones cost a crossing into Rust each, larger ones memory.
BLOCK = 1024 * 1024

# S3's smallest part; with two on their way an upload takes some 15 MB, whatever its size.
PART = 5 * 1024 * 1024
PARTS_AT_ONCE = 2

# Seconds that removing a failed upload may take before it is left to the sweep.
DISCARD_WITHIN = 10

COLUMNS = (
    File.id,
    File.name,
    File.content_type,
    File.size,
    File.sha256,
    File.created_at,
    File.expires_at,
    File.job_id,
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file and where its bytes are."""

    file: FileResponse
    key: str


def _needed() -> ColumnElement[bool]:
    return exists().where(JobFile.file_id == File.id)


def _expired() -> ColumnElement[bool]:
    """What an unfinished job needs doesn't expire."""
    return (File.expires_at <= func.clock_timestamp()) & ~_needed()


def _response(row: object) -> FileResponse:
    return FileResponse.model_validate(row, from_attributes=True)


class IncomingBody:
    """A request's body as it is read: counted, hashed, and cut into blocks."""

    def __init__(self, chunks: AsyncIterator[bytes], *, declared: int | None, limit: int) -> None:
        if declared is not None and declared > limit:
            raise FileTooLarge(f"{declared} bytes declared, the limit is {limit}")
        self._chunks = chunks
        self._declared = declared
        self._limit = limit
        self._sha256 = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> bytes:
        return self._sha256.digest()

    async def blocks(self) -> AsyncIterator[bytes]:
        """Blocks of at least `BLOCK` bytes, but for the last.

        Raises `FileTooLarge` and `UploadIncomplete`, before the block at fault.
        """
        block = bytearray()
        async for chunk in self._chunks:
            self.size += len(chunk)
            if self.size > self._limit:
                raise FileTooLarge(f"the limit is {self._limit} bytes")
            self._sha256.update(chunk)
            block += chunk
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
        if self._declared is not None and self.size != self._declared:
            raise UploadIncomplete(f"{self._declared} bytes declared, {self.size} sent")
        if block:
            yield bytes(block)


async def upload(
    sessions: Sessions,
    store: ObjectStore,
    settings: Files,
    owner_id: UUID,
    *,
    name: str,
    body: IncomingBody,
) -> FileResponse:
    """Store a body as one of the owner's files; no connection is held while it streams.

    Raises `FileTooLarge`, `UploadIncomplete`, `UploadTooSlow` and `Unavailable`; whatever it
    raises, it leaves nothing behind, or a pending row that says what is to be swept.
    """
    blocks = body.blocks()
    first = await anext(blocks, b"")
    key = f"files/{owner_id}/{uuid4().hex}"
    pending = {
        "owner_id": owner_id,
        "key": key,
        "name": name,
        "content_type": sniff(first, name),
        "expires_at": func.clock_timestamp() + timedelta(seconds=settings.pending_ttl),
    }
    async with transaction(sessions) as session:
        file_id = (
            await session.execute(insert(File).values(pending).returning(File.id))
        ).scalar_one()
    try:
        await _store(store, key, first, blocks)
        async with transaction(sessions) as session:
            row = (
                await session.execute(
                    update(File)
                    .where(File.id == file_id, File.state == FileState.PENDING)
                    .values(
                        state=FileState.READY,
                        size=body.size,
                        sha256=body.sha256,
                        expires_at=func.clock_timestamp() + timedelta(seconds=settings.ttl),
                    )
                    .returning(*COLUMNS)
                )
            ).one_or_none()
            if row is None:
                raise UploadTooSlow(f"it took more than {settings.pending_ttl} seconds")
            return _response(row)
    except BaseException:
        await _discard(sessions, store, file_id, key)
        raise


async def _store(store: ObjectStore, key: str, first: bytes, rest: AsyncIterator[bytes]) -> None:
    """Write the object: whole or not at all, in parts if it is longer than a block."""
    try:
        if len(first) < BLOCK:
            await obstore.put_async(store, key, first)
            return

        async def all_blocks() -> AsyncIterator[bytes]:
            yield first
            async for block in rest:
                yield block

        # What the iterator raises comes out here, and has aborted the parts that were stored.
        await obstore.put_async(
            store, key, all_blocks(), chunk_size=PART, max_concurrency=PARTS_AT_ONCE
        )
    except STORE_ERRORS as error:
        log.error("upload not stored", key=key, error=str(error))
        raise Unavailable("the file store is away: try again in a moment") from error


async def _discard(sessions: Sessions, store: ObjectStore, file_id: UUID, key: str) -> None:
    """Remove a failed upload, its row last; what can't be removed now is swept once it expires."""
    with anyio.move_on_after(DISCARD_WITHIN, shield=True):
        try:
            async with transaction(sessions) as session:
                removed = await session.execute(
                    delete(File)
                    .where(File.id == file_id, File.state != FileState.READY)
                    .returning(File.id)
                )
                if removed.one_or_none() is not None:
                    await remove(store, key)
        except Exception as error:
            log.warning("failed upload left to the sweep", key=key, error=str(error))


async def list_files(
    session: AsyncSession, owner_id: UUID, page: PageRequest, filters: FileFilters
) -> Page[FileResponse]:
    statement = (
        select(*COLUMNS)
        .where(File.owner_id == owner_id, File.state == FileState.READY, ~_expired())
        .order_by(File.id.desc())
        .limit(page.limit + 1)
    )
    if filters.job_id is not None:
        statement = statement.where(File.job_id == filters.job_id)
    if (after := page.after(filters)) is not None:
        statement = statement.where(File.id < after)
    files: Sequence[FileResponse] = [_response(row) for row in await session.execute(statement)]
    items, next_cursor = page.cut(files, filters)
    return Page(items=list(items), next_cursor=next_cursor)


async def locate(session: AsyncSession, owner_id: UUID, file_id: UUID) -> StoredFile:
    """Raises `NotFound` and `Gone`."""
    statement = select(*COLUMNS, File.key, _expired().label("expired")).where(
        File.id == file_id, File.owner_id == owner_id, File.state == FileState.READY
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(f"no file {file_id} of yours")
    if row.expired:
        raise Gone(f"the file expired at {row.expires_at.isoformat()}")
    return StoredFile(_response(row), row.key)


async def get(session: AsyncSession, owner_id: UUID, file_id: UUID) -> FileResponse:
    """Raises `NotFound` and `Gone`."""
    return (await locate(session, owner_id, file_id)).file


async def remove_file(session: AsyncSession, owner_id: UUID, file_id: UUID) -> None:
    """Nobody sees it from now on; the controller removes its bytes, then its row.

    Raises `NotFound` and `FileInUse`.
    """
    # A job that is being accepted holds the row for share: wait for it, and look for its hold in
    # a statement of its own, whose snapshot is younger than that wait.
    locked = (
        select(File.id)
        .where(File.id == file_id, File.owner_id == owner_id, File.state == FileState.READY)
        .with_for_update()
    )
    if (await session.execute(locked)).one_or_none() is None:
        raise NotFound(f"no file {file_id} of yours")
    deleted = await session.execute(
        update(File)
        .where(File.id == file_id, ~_needed())
        .values(state=FileState.DELETING, expires_at=func.clock_timestamp())
        .returning(File.id)
    )
    if deleted.one_or_none() is None:
        raise FileInUse("an unfinished job needs it: cancel the job, or wait for its end")
