from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from app.api.bodies import BoundedRoute, body_limit
from app.api.conditional import ETAG, NOT_MODIFIED, Expected, Held, unless_held, with_etag
from app.api.deps import CurrentUser, PageParams, SessionDep
from app.api.openapi import problems
from app.core.errors import NotFound, PreconditionFailed
from app.schemas.item import ItemCreate, ItemFilters, ItemResponse, ItemUpdate
from app.schemas.page import Page
from app.services import items

router = APIRouter(prefix="/items", tags=["items"], route_class=BoundedRoute)

# The longest item, with each of its 11,200 characters escaped as two surrogates (12 bytes).
ITEM = body_limit(160 * 1024)

TAGGED: dict[str, Any] = {"headers": ETAG}
CREATED: dict[str, Any] = {
    "headers": ETAG
    | {"Location": {"description": "The item's own address.", "schema": {"type": "string"}}}
}


async def get_filters(
    tag: Annotated[str | None, Query(max_length=50, description="Only items that have it.")] = None,
    q: Annotated[
        str | None,
        Query(
            max_length=100,
            description='Words of title or description, as in a search engine: `red "big bus" '
            "or tram -blue`.",
        ),
    ] = None,
) -> ItemFilters:
    return ItemFilters(tag=tag, q=q)


async def get_owned(item_id: UUID, user: CurrentUser, session: SessionDep) -> ItemResponse:
    return await items.get(session, user.id, item_id)


FilterParams = Annotated[ItemFilters, Depends(get_filters)]


@router.post("", status_code=201, responses={201: CREATED}, openapi_extra=ITEM)
async def create_item(
    new: ItemCreate, user: CurrentUser, session: SessionDep, request: Request, response: Response
) -> ItemResponse:
    """Create an item."""
    item = await items.create(session, user.id, new)
    response.headers["Location"] = request.app.url_path_for("get_item", item_id=str(item.id))
    return with_etag(item, response)


@router.get("")
async def list_items(
    user: CurrentUser, session: SessionDep, filters: FilterParams, page: PageParams
) -> Page[ItemResponse]:
    """Your items, newest first."""
    return await items.list_page(session, user.id, filters, page)


@router.get(
    "/{item_id}",
    response_model=ItemResponse,
    responses={200: TAGGED, **NOT_MODIFIED, **problems(NotFound, PreconditionFailed)},
)
async def get_item(
    item: Annotated[ItemResponse, Depends(get_owned)],
    held: Held,
    expected: Expected,
    response: Response,
) -> ItemResponse | Response:
    """One of your items."""
    return unless_held(item, response, held, expected)


@router.patch(
    "/{item_id}",
    responses={200: TAGGED, **problems(NotFound, PreconditionFailed)},
    openapi_extra=ITEM,
)
async def change_item(
    item_id: UUID,
    changes: ItemUpdate,
    user: CurrentUser,
    session: SessionDep,
    expected: Expected,
    response: Response,
) -> ItemResponse:
    """Change what the body names, and nothing else.

    With `If-Match`, only the version that the client has seen: nobody's change in between is
    lost.
    """
    item = await items.change(session, user.id, item_id, changes, versions=expected)
    return with_etag(item, response)


@router.delete("/{item_id}", status_code=204, responses=problems(NotFound, PreconditionFailed))
async def delete_item(
    item_id: UUID, user: CurrentUser, session: SessionDep, expected: Expected
) -> None:
    """Delete an item; with `If-Match`, only the version that the client has seen."""
    await items.remove(session, user.id, item_id, versions=expected)
