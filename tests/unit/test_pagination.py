import base64
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from app.core.errors import InvalidInput
from app.core.pagination import PageRequest
from app.models.job import JobState
from app.schemas.job import JobFilters


class Row(BaseModel):
    id: UUID


ROWS = [Row(id=uuid4()) for _ in range(3)]
QUEUED = JobFilters(state=(JobState.QUEUED,))


def test_a_cursor_goes_on_where_the_page_ended() -> None:
    items, cursor = PageRequest(2).cut(ROWS, QUEUED)
    assert list(items) == ROWS[:2]
    assert PageRequest(2, cursor).after(QUEUED) == ROWS[1].id


def test_the_last_page_has_none() -> None:
    assert PageRequest(3).cut(ROWS, QUEUED) == (ROWS, None)
    assert PageRequest(3).cut([], QUEUED) == ([], None)


def test_a_cursor_of_other_filters_is_refused() -> None:
    _, cursor = PageRequest(2).cut(ROWS, QUEUED)
    with pytest.raises(InvalidInput) as refused:
        PageRequest(2, cursor).after(JobFilters())
    assert refused.value.field == "query.cursor"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "?",
        "e30=",
        "AAAA",
        "é",
        base64.urlsafe_b64encode(b'{"id": 1, "filters": "{}"}').decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput):
        PageRequest(2, cursor).after()
