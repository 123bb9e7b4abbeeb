"""Opaque cursors: where the last page ended, and the filters it was asked for with."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from app.core.errors import InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 100


class Filters(BaseModel):
    """What a list is narrowed by."""

    model_config = ConfigDict(extra="forbid", frozen=True)


NO_FILTERS = Filters()


class _Cursor(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID
    filters: str


class Identified(Protocol):
    @property
    def id(self) -> UUID: ...


Item = TypeVar("Item", bound=Identified)


@dataclass(frozen=True, slots=True)
class PageRequest:
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    def after(self, filters: Filters = NO_FILTERS) -> UUID | None:
        """The id that the last page ended with; None on the first page.

        Raises `InvalidInput` for a cursor that is none of ours, or of a list with other filters.
        """
        if self.cursor is None:
            return None
        try:
            cursor = _Cursor.model_validate_json(
                base64.b64decode(self.cursor, altchars=b"-_", validate=True)
            )
        except ValueError:
            raise InvalidInput(
                "this is no cursor of ours: take it from a page's next_cursor",
                field="query.cursor",
            ) from None
        if cursor.filters != filters.model_dump_json():
            raise InvalidInput(
                "the cursor belongs to a list with other filters: send those of the first page",
                field="query.cursor",
            )
        return cursor.id

    def cut(
        self, rows: Sequence[Item], filters: Filters = NO_FILTERS
    ) -> tuple[Sequence[Item], str | None]:
        """The page's items and its next cursor, out of up to `limit + 1` rows."""
        items = rows[: self.limit]
        if len(rows) <= self.limit:
            return items, None
        cursor = _Cursor(id=items[-1].id, filters=filters.model_dump_json())
        return items, base64.urlsafe_b64encode(cursor.model_dump_json().encode()).decode()
