"""Items: rows of their owner's, changed by compare-and-set."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    any_,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import NotFound, PreconditionFailed
from app.core.pagination import PageRequest
from app.models import Item
from app.models.item import SEARCH_CONFIGURATION
from app.schemas.item import ItemCreate, ItemFilters, ItemResponse, ItemUpdate
from app.schemas.page import Page

COLUMNS = (
    Item.id,
    Item.title,
    Item.description,
    Item.tags,
    Item.version,
    Item.created_at,
    Item.updated_at,
)

# The versions that a change may replace; None for any.
Versions = Collection[int] | None


def _response(row: object) -> ItemResponse:
    return ItemResponse.model_validate(row, from_attributes=True)


def _owned(owner_id: UUID, item_id: UUID) -> ColumnElement[bool]:
    return (Item.id == item_id) & (Item.owner_id == owner_id)


def _replaceable(owner_id: UUID, item_id: UUID, versions: Versions) -> ColumnElement[bool]:
    """Checked by the statement that changes the row, again once it has waited for another."""
    owned = _owned(owner_id, item_id)
    if versions is None:
        return owned
    return owned & (Item.version == any_(literal([*versions], ARRAY(BigInteger))))


async def create(session: AsyncSession, owner_id: UUID, new: ItemCreate) -> ItemResponse:
    # The same time for both: the columns' defaults read the clock once each, and may differ.
    now = func.statement_timestamp()
    statement = (
        insert(Item)
        .values(owner_id=owner_id, created_at=now, updated_at=now, **new.model_dump())
        .returning(*COLUMNS)
    )
    return _response((await session.execute(statement)).one())


async def list_page(
    session: AsyncSession, owner_id: UUID, filters: ItemFilters, page: PageRequest
) -> Page[ItemResponse]:
    """Newest first. Raises `InvalidInput` for a cursor that does not fit."""
    statement = select(*COLUMNS).where(Item.owner_id == owner_id)
    if filters.tag is not None:
        statement = statement.where(Item.tags.contains([filters.tag]))
    if filters.q is not None:
        query = func.websearch_to_tsquery(SEARCH_CONFIGURATION, filters.q)
        statement = statement.where(Item.search.bool_op("@@")(query))
    if (after := page.after(filters)) is not None:
        statement = statement.where(Item.id < after)
    rows = await session.execute(statement.order_by(Item.id.desc()).limit(page.limit + 1))
    items, next_cursor = page.cut([_response(row) for row in rows], filters)
    return Page[ItemResponse](items=list(items), next_cursor=next_cursor)


async def get(session: AsyncSession, owner_id: UUID, item_id: UUID) -> ItemResponse:
    """Raises `NotFound`."""
    statement = select(*COLUMNS).where(_owned(owner_id, item_id))
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(f"you have no item {item_id}")
    return _response(row)


async def change(
    session: AsyncSession,
    owner_id: UUID,
    item_id: UUID,
    changes: ItemUpdate,
    *,
    versions: Versions = None,
) -> ItemResponse:
    """Raises `NotFound` and `PreconditionFailed`."""
    statement = (
        update(Item)
        .where(_replaceable(owner_id, item_id, versions))
        .values(
            **changes.model_dump(),
            version=Item.version + 1,
            updated_at=func.clock_timestamp(),
        )
        .returning(*COLUMNS)
    )
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        raise await _replaced(session, owner_id, item_id)
    return _response(row)


async def remove(
    session: AsyncSession, owner_id: UUID, item_id: UUID, *, versions: Versions = None
) -> None:
    """Raises `NotFound` and `PreconditionFailed`."""
    statement = delete(Item).where(_replaceable(owner_id, item_id, versions)).returning(Item.id)
    if (await session.execute(statement)).one_or_none() is None:
        raise await _replaced(session, owner_id, item_id)


async def _replaced(session: AsyncSession, owner_id: UUID, item_id: UUID) -> PreconditionFailed:
    """Raises `NotFound` if it is not the version that did not fit."""
    item = await get(session, owner_id, item_id)
    return PreconditionFailed(f"the item is at version {item.version}: read it again")
