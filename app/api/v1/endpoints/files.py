from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse

from app.api.content import ContentHeaders, content
from app.api.deps import (
    CurrentUser,
    PageParams,
    SessionDep,
    SessionsDep,
    SettingsDep,
    StoreDep,
    StreamingUser,
)
from app.api.media_types import refuse_multipart
from app.api.openapi import Responses, problems
from app.core.errors import (
    FileInUse,
    FileTooLarge,
    Gone,
    NotFound,
    PreconditionFailed,
    RangeNotSatisfiable,
    UnsupportedMediaType,
    UploadIncomplete,
    UploadTooSlow,
)
from app.schemas.file import FileFilters, FileName, FileResponse
from app.schemas.page import Page
from app.services import files
from app.services.files import IncomingBody, StoredFile

router = APIRouter(prefix="/files", tags=["files"])

BYTES = {"schema": {"type": "string", "format": "binary"}}
UPLOAD = {"application/octet-stream": BYTES}
# Of the file's own type; the first is what a generated client looks for.
DOWNLOAD = {"application/octet-stream": BYTES, "*/*": BYTES}
CONTENT: Responses = {
    200: {"description": "The file.", "content": DOWNLOAD},
    206: {"description": "The range of it that was asked for.", "content": DOWNLOAD},
    304: {"description": "The client has it already."},
}


async def get_body(
    request: Request,
    settings: SettingsDep,
    content_length: Annotated[int | None, Header(ge=0, include_in_schema=False)] = None,
) -> IncomingBody:
    refuse_multipart(request)
    return IncomingBody(request.stream(), declared=content_length, limit=settings.files.max_bytes)


async def get_filters(
    job_id: Annotated[UUID | None, Query(description="Only the outputs of this job.")] = None,
) -> FileFilters:
    return FileFilters(job_id=job_id)


async def get_stored(file_id: UUID, user: StreamingUser, sessions: SessionsDep) -> StoredFile:
    """Read in a transaction of its own: the bytes come after it."""
    async with sessions() as session:
        return await files.locate(session, user.id, file_id)


Body = Annotated[IncomingBody, Depends(get_body)]
FilterParams = Annotated[FileFilters, Depends(get_filters)]
Asked = Annotated[ContentHeaders, Header()]

# Swagger UI fills in a parameter from the parameter's examples, not from its schema's.
NAMED: dict[str, Example] = {"photograph": {"value": "photograph.jpg"}}


@router.post(
    "",
    status_code=201,
    responses=problems(FileTooLarge, UnsupportedMediaType, UploadIncomplete, UploadTooSlow),
    openapi_extra={"requestBody": {"required": True, "content": UPLOAD}},
)
async def upload(
    name: Annotated[FileName, Query(openapi_examples=NAMED)],
    user: StreamingUser,
    sessions: SessionsDep,
    store: StoreDep,
    settings: SettingsDep,
    body: Body,
    request: Request,
    response: Response,
) -> FileResponse:
    """Upload a file: the body is its raw bytes, of any type, chunked or not. Forms are refused."""
    file = await files.upload(sessions, store, settings.files, user.id, name=name, body=body)
    response.headers["Location"] = request.app.url_path_for("get_file", file_id=str(file.id))
    return file


@router.get("")
async def list_files(
    user: CurrentUser, session: SessionDep, page: PageParams, filters: FilterParams
) -> Page[FileResponse]:
    """List the files that are there, newest first."""
    return await files.list_files(session, user.id, page, filters)


@router.get("/{file_id}", responses=problems(NotFound, Gone))
async def get_file(file_id: UUID, user: CurrentUser, session: SessionDep) -> FileResponse:
    """A file's description."""
    return await files.get(session, user.id, file_id)


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses=CONTENT | problems(NotFound, Gone, PreconditionFailed, RangeNotSatisfiable),
)
async def download(
    stored: Annotated[StoredFile, Depends(get_stored)], store: StoreDep, asked: Asked
) -> Response:
    """A file's bytes, or one range of them."""
    return await content(store, stored, asked)


@router.head("/{file_id}/content", include_in_schema=False)
async def describe_content(
    stored: Annotated[StoredFile, Depends(get_stored)], store: StoreDep, asked: Asked
) -> Response:
    return await content(store, stored, asked, head=True)


@router.delete("/{file_id}", status_code=204, responses=problems(NotFound, FileInUse))
async def delete_file(file_id: UUID, user: CurrentUser, session: SessionDep) -> None:
    """Delete a file that no unfinished job needs."""
    await files.remove_file(session, user.id, file_id)
