"""The owner's items: found again, changed by one at a time, and nobody else's."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx2 import AsyncClient, Response
from sqlalchemy import Engine, text

pytestmark = pytest.mark.anyio

ITEMS = "/api/v1/items"

Create = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def create(client: AsyncClient) -> Create:
    async def create(title: str = "A bus", **fields: object) -> dict[str, Any]:
        response = await client.post(ITEMS, json={"title": title, **fields})
        assert response.status_code == 201, response.text
        item: dict[str, Any] = response.json()
        return item

    return create


def is_problem(response: Response, status: int, name: str) -> bool:
    return response.status_code == status and response.json()["type"].endswith(f"/{name}")


# --- create, read, change, delete -----------------------------------------------------------------


async def test_a_new_item_was_updated_when_it_was_created(client: AsyncClient) -> None:
    # Two readings of the clock differed for one item in some forty.
    for _ in range(40):
        item = (await client.post(ITEMS, json={"title": "A bus"})).json()
        assert item["created_at"] == item["updated_at"]


async def test_an_item_is_created_read_changed_and_deleted(client: AsyncClient) -> None:
    new = {"title": " A bus ", "description": "It is red.\n", "tags": ["red", "bus", " red"]}
    created = await client.post(ITEMS, json=new)
    assert created.status_code == 201
    item = created.json()
    assert (item["title"], item["description"]) == ("A bus", "It is red.\n")
    assert item["tags"] == ["red", "bus"]
    assert item["version"] == 1
    assert created.headers["etag"] == '"1"'
    assert created.headers["location"] == f"{ITEMS}/{item['id']}"

    read = await client.get(created.headers["location"])
    assert (read.status_code, read.json()) == (200, item)
    assert read.headers["etag"] == '"1"'
    assert read.headers["cache-control"] == "private, no-store"

    changed = await client.patch(read.url.path, json={"title": "A tram"})
    assert changed.status_code == 200
    assert changed.headers["etag"] == '"2"'
    after = changed.json()
    assert after["updated_at"] > item["updated_at"]
    assert after == item | {"title": "A tram", "version": 2, "updated_at": after["updated_at"]}
    assert (await client.get(read.url.path)).json() == after

    deleted = await client.delete(read.url.path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method in ("GET", "DELETE"):
        assert is_problem(await client.request(method, read.url.path), 404, "not-found")
    gone = await client.patch(read.url.path, json={"title": "A tram"})
    assert is_problem(gone, 404, "not-found")


async def test_what_may_be_left_out(client: AsyncClient, create: Create) -> None:
    item = await create()
    assert (item["description"], item["tags"]) == ("", [])
    full = await create(description="d", tags=["t"])
    path = f"{ITEMS}/{full['id']}"
    emptied = (await client.patch(path, json={"description": "", "tags": []})).json()
    assert (emptied["title"], emptied["description"], emptied["tags"]) == ("A bus", "", [])


async def test_what_is_no_item(client: AsyncClient, create: Create) -> None:
    refused: list[tuple[dict[str, object], str]] = [
        ({"title": ""}, "body.title"),
        ({"title": "  "}, "body.title"),
        ({"title": "t" * 201}, "body.title"),
        ({"title": None}, "body.title"),
        ({"title": "t", "description": "d" * 10_001}, "body.description"),
        ({"title": "t", "description": None}, "body.description"),
        ({"title": "t", "tags": [""]}, "body.tags.0"),
        ({"title": "t", "tags": ["t" * 51]}, "body.tags.0"),
        ({"title": "t", "tags": [str(number) for number in range(21)]}, "body.tags"),
        ({"title": "t", "owner_id": str(uuid4())}, "body.owner_id"),
        ({"title": "t", "version": 7}, "body.version"),
        ({"title": "t", "search": "t"}, "body.search"),
    ]
    path = f"{ITEMS}/{(await create())['id']}"
    for body, field in refused:
        for response in (
            await client.post(ITEMS, json=body),
            await client.patch(path, json=body),
        ):
            assert response.status_code == 422, body
            assert [error["field"] for error in response.json()["errors"]] == [field]
    items = (await client.get(ITEMS)).json()["items"]
    assert [item["version"] for item in items] == [1]


async def test_a_change_of_nothing_is_refused(client: AsyncClient, create: Create) -> None:
    path = f"{ITEMS}/{(await create())['id']}"
    assert is_problem(await client.patch(path, json={}), 422, "invalid-input")
    assert (await client.get(path)).json()["version"] == 1


async def test_items_go_with_their_owner(create: Create, engine: Engine) -> None:
    await create()
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM users"))
        assert connection.execute(text("SELECT count(*) FROM items")).scalar_one() == 0


# --- conditional requests -------------------------------------------------------------------------


async def test_what_the_client_holds_is_not_sent_again(client: AsyncClient, create: Create) -> None:
    path = f"{ITEMS}/{(await create())['id']}"
    await client.patch(path, json={"title": "A tram"})
    for held, status in (
        ('"2"', 304),
        ('W/"2"', 304),
        ('"1", "2"', 304),
        ("*", 304),
        ('"1"', 200),
        ("2", 200),
        ("", 200),
    ):
        response = await client.get(path, headers={"If-None-Match": held})
        assert response.status_code == status, held
        assert response.headers["etag"] == '"2"'
        assert (response.content == b"") == (status == 304)


# A weak tag fits nothing here, and what can't be read must not be passed over.
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_only_the_version_asked_for_is_replaced(
    client: AsyncClient, create: Create, method: str
) -> None:
    path = f"{ITEMS}/{(await create())['id']}"
    await client.patch(path, json={"title": "A tram"})
    body = {"title": "A boat"} if method == "PATCH" else None
    for if_match in ('"1"', '"02"', 'W/"2"', "2", '"2', ""):
        headers = {"If-Match": if_match}
        response = await client.request(method, path, headers=headers, json=body)
        assert is_problem(response, 412, "precondition-failed"), if_match
        assert "version 2" in response.json()["detail"]
        after = (await client.get(path)).json()
        assert (after["title"], after["version"]) == ("A tram", 2)
    headers = {"If-Match": '"1", "2"'}
    assert (await client.request(method, path, headers=headers, json=body)).is_success
    last = await client.get(path)
    assert last.status_code == (200 if method == "PATCH" else 404)


async def test_the_lines_of_a_condition_are_one_list(client: AsyncClient, create: Create) -> None:
    """RFC 9110, section 5.3."""
    path = f"{ITEMS}/{(await create())['id']}"

    async def status(name: str, *lines: str) -> int:
        return (await client.get(path, headers=[(name, line) for line in lines])).status_code

    assert await status("If-None-Match", '"7"', '"1"') == 304
    assert await status("If-None-Match", "", 'W/"1"') == 304
    assert await status("If-None-Match", '"7"', '"8"') == 200
    assert await status("If-Match", '"7"', '"1"') == 200
    assert await status("If-Match", '"7"', '"8"') == 412
    # A list with one broken line is broken.
    assert await status("If-Match", '"1"', "8") == 412
    assert await status("If-None-Match", '"1"', "8") == 200
    headers = [("If-Match", '"7"'), ("If-Match", '"1"')]
    changed = await client.patch(path, headers=headers, json={"title": "A tram"})
    assert changed.json()["version"] == 2


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_any_version_is_replaced(client: AsyncClient, create: Create, method: str) -> None:
    path = f"{ITEMS}/{(await create())['id']}"
    body = {"title": "A boat"} if method == "PATCH" else None
    response = await client.request(method, path, headers={"If-Match": "*"}, json=body)
    assert response.is_success


async def test_only_the_version_asked_for_is_read(client: AsyncClient, create: Create) -> None:
    path = f"{ITEMS}/{(await create())['id']}"
    for if_match, status in (('"1"', 200), ("*", 200), ('"2", "1"', 200), ('"2"', 412), ("1", 412)):
        response = await client.get(path, headers={"If-Match": if_match})
        assert response.status_code == status, if_match
    # RFC 9110, section 13.2.2: before If-None-Match.
    response = await client.get(path, headers={"If-Match": '"2"', "If-None-Match": '"1"'})
    assert is_problem(response, 412, "precondition-failed")


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_what_is_not_there_is_a_404_whatever_it_was_to_match(
    client: AsyncClient, method: str
) -> None:
    """RFC 9110, section 13.2.1: a precondition changes no other answer than a success."""
    for if_match in ("*", '"1"'):
        body = {"title": "t"} if method == "PATCH" else None
        headers = {"If-Match": if_match}
        response = await client.request(method, f"{ITEMS}/{uuid4()}", headers=headers, json=body)
        assert is_problem(response, 404, "not-found")


async def test_of_changes_at_once_to_one_version_one_is_made(
    client: AsyncClient, create: Create
) -> None:
    path = f"{ITEMS}/{(await create())['id']}"

    async def change(number: int) -> Response:
        body = {"title": f"{number}"}
        return await client.patch(path, json=body, headers={"If-Match": '"1"'})

    answers = await asyncio.gather(*(change(number) for number in range(20)))
    made = [answer for answer in answers if answer.status_code == 200]
    assert len(made) == 1
    assert {answer.status_code for answer in answers} == {200, 412}
    assert (await client.get(path)).json() == made[0].json()


async def test_no_version_is_given_twice(client: AsyncClient, create: Create) -> None:
    """Changes at once that ask for no version are all made, one after the other."""
    path = f"{ITEMS}/{(await create())['id']}"
    answers = await asyncio.gather(
        *(client.patch(path, json={"title": f"{number}"}) for number in range(20))
    )
    by_version = {answer.json()["version"]: answer.json()["title"] for answer in answers}
    assert sorted(by_version) == list(range(2, 22))
    assert (await client.get(path)).json()["title"] == by_version[21]


async def test_a_change_that_waited_looks_again(
    client: AsyncClient, create: Create, engine: Engine
) -> None:
    """It found its version when it began, and another one once it had the row."""
    item = await create()
    path = f"{ITEMS}/{item['id']}"
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as other, engine.connect() as watcher:
        other.execute(
            text("UPDATE items SET version = version + 1 WHERE id = :id"), {"id": UUID(item["id"])}
        )
        changing = asyncio.create_task(
            client.patch(path, json={"title": "late"}, headers={"If-Match": '"1"'})
        )
        async with asyncio.timeout(10):
            while watcher.execute(waiting).scalar_one() == 0:
                watcher.rollback()  # or it would see one snapshot of the statistics for ever
                await asyncio.sleep(0.01)
        other.commit()
        assert is_problem(await changing, 412, "precondition-failed")
    assert (await client.get(path)).json()["title"] == "A bus"


# --- lists ----------------------------------------------------------------------------------------


async def titles(client: AsyncClient, **params: str | int) -> list[str]:
    """Over all pages."""
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        response = await client.get(ITEMS, params={**params, **cursor})
        assert response.status_code == 200, response.text
        page = response.json()
        found += [item["title"] for item in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_pages_are_newest_first_whatever_changes_meanwhile(
    client: AsyncClient, create: Create
) -> None:
    items = [await create(f"{number}") for number in range(5)]
    first = (await client.get(ITEMS, params={"limit": 2})).json()
    assert [item["title"] for item in first["items"]] == ["4", "3"]
    await create("5")
    await client.patch(f"{ITEMS}/{items[0]['id']}", json={"description": "changed last"})
    rest = await client.get(ITEMS, params={"limit": 3, "cursor": first["next_cursor"]})
    assert [item["title"] for item in rest.json()["items"]] == ["2", "1", "0"]
    assert rest.json()["next_cursor"] is None


async def test_a_tag_narrows_the_list(client: AsyncClient, create: Create) -> None:
    await create("1", tags=["red", "bus"])
    await create("2", tags=["red"])
    await create("3", tags=["reddish"])
    await create("4")
    assert await titles(client, tag="red", limit=1) == ["2", "1"]
    assert await titles(client, tag="bus") == ["1"]
    assert await titles(client, tag="blue") == []


async def test_words_narrow_the_list(client: AsyncClient, create: Create) -> None:
    await create("Bus", description="A red bus, as in London.")
    await create("Tram", description="The tram is red.")
    await create("Boat", description="Ihre Größe ist unbekannt.")
    searches: list[tuple[str, list[str]]] = [
        ("red", ["Tram", "Bus"]),
        ("RED tram", ["Tram"]),
        ('"red tram"', []),
        ('"red bus"', ["Bus"]),
        ("red -bus", ["Tram"]),
        ("bus or boat", ["Boat", "Bus"]),
        ("größe", ["Boat"]),
        ("re", []),
        ("'; DROP TABLE items; --", []),
        ('"', []),
        ("", []),
        ("& | ! <-> (:*", []),
    ]
    for q, found in searches:
        assert await titles(client, q=q, limit=1) == found, q


async def test_a_change_is_searched(client: AsyncClient, create: Create) -> None:
    item = await create("Bus")
    await client.patch(f"{ITEMS}/{item['id']}", json={"description": "electric"})
    assert await titles(client, q="electric bus") == ["Bus"]


async def test_filters_narrow_together_and_bind_the_cursor(
    client: AsyncClient, create: Create
) -> None:
    for number in range(3):
        await create(f"Bus {number}", tags=["red"])
    await create("Bus 3")
    assert await titles(client, q="bus", tag="red", limit=1) == ["Bus 2", "Bus 1", "Bus 0"]
    page = (await client.get(ITEMS, params={"q": "bus", "tag": "red", "limit": 1})).json()
    for params in ({"q": "bus"}, {"q": "tram", "tag": "red"}, {}):
        other = await client.get(ITEMS, params={**params, "cursor": page["next_cursor"]})
        assert is_problem(other, 422, "invalid-input")
        assert other.json()["errors"][0]["field"] == "query.cursor"


async def test_the_longest_filters_still_fit_a_cursor(client: AsyncClient, create: Create) -> None:
    """Control characters take most: JSON escapes them twice."""
    tag = "\x01" * 48 + '"\\'
    for _ in range(2):
        await create(tags=[tag])
    words = "A" + "\x01" * 99
    page = (await client.get(ITEMS, params={"tag": tag, "q": words, "limit": 1})).json()
    assert len(base64.urlsafe_b64decode(page["next_cursor"])) > 1000
    rest = await client.get(ITEMS, params={"tag": tag, "q": words, "cursor": page["next_cursor"]})
    assert len(rest.json()["items"]) == 1


@pytest.mark.parametrize("params", [{"tag": "t" * 51}, {"q": "q" * 101}])
async def test_filters_are_bounded(client: AsyncClient, params: dict[str, str]) -> None:
    assert is_problem(await client.get(ITEMS, params=params), 422, "invalid-input")
