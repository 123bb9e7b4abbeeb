from uuid import uuid4

from pydantic import JsonValue

from loadtests._answers import Item, Page, newest_first
from loadtests._scenario import Scenario, journey
from loadtests._seeding import TAG
from loadtests._session import Answer
from loadtests._settings import PAGE


class BrowseAndEdit(Scenario):
    """Leaf through one's items, search, open one; make one, change it, delete it."""

    @journey("items", "read", weight=2)
    def browse(self) -> None:
        first = self.page(f"?tag={TAG}&limit={PAGE}")
        second = self.page(f"?tag={TAG}&limit={PAGE}&cursor={first.next_cursor}", after=first)
        self.open(second.items[0])
        with self.api.ask("GET", "/items", query="?q=crate&limit=5", headers=self.bearer) as answer:
            found = answer.read(Page[Item]).items
            answer.require(len(found) == 5, "a search found too little")
            answer.require(all("Crate" in item.title for item in found), "a search found another")

    def page(self, query: str, *, after: Page[Item] | None = None) -> Page[Item]:
        with self.api.ask("GET", "/items", query=query, headers=self.bearer) as answer:
            page = answer.read(Page[Item])
            answer.require(bool(page.items), "an empty page")
            answer.require(all(TAG in item.tags for item in page.items), "items without the tag")
            require_newest_first(answer, page.items, after)
            if after is None:
                answer.require(len(page.items) == PAGE, "a page that is not full")
                answer.require(page.next_cursor is not None, "no next page")
            return page

    def open(self, listed: Item) -> None:
        with self.api.ask(
            "GET", "/items/{item_id}", headers=self.bearer, item_id=listed.id
        ) as answer:
            answer.require(answer.read(Item).id == listed.id, "another item")
            tag = answer.header("ETag")
            answer.require(bool(tag), "no ETag")
        # What the client has already is not sent again.
        held = {**self.bearer, "If-None-Match": tag}
        with self.api.ask(
            "GET", "/items/{item_id}", status=304, headers=held, item_id=listed.id
        ) as answer:
            answer.require(answer.content == b"", "a 304 with content")

    @journey("items", "write")
    def edit(self) -> None:
        own = f"own-{uuid4().hex}"
        new: JsonValue = {"title": "Anvil", "description": "To be lifted.", "tags": [own]}
        with self.api.ask("POST", "/items", status=201, json=new, headers=self.bearer) as answer:
            item = answer.read(Item)
            answer.require(item.tags == [own], "other tags than were sent")
            created = answer.header("ETag")
            answer.require(bool(created), "no ETag")
        with self.api.ask("GET", "/items", query=f"?tag={own}", headers=self.bearer) as answer:
            listed = [found.id for found in answer.read(Page[Item]).items]
            answer.require(listed == [item.id], "the new item is not listed")
        with self.api.ask(
            "PATCH",
            "/items/{item_id}",
            json={"title": "Feather"},
            headers={**self.bearer, "If-Match": created},
            item_id=item.id,
        ) as answer:
            changed = answer.read(Item)
            answer.require(changed.title == "Feather", "the change is not there")
            answer.require(changed.tags == [own], "more was changed")
            tag = answer.header("ETag")
            answer.require(bool(tag) and tag != created, "the ETag has not changed")
        with self.api.ask(
            "DELETE",
            "/items/{item_id}",
            status=204,
            headers={**self.bearer, "If-Match": tag},
            item_id=item.id,
        ):
            pass


def require_newest_first(answer: Answer, items: list[Item], after: Page[Item] | None) -> None:
    rows = (after.items[-1:] if after else []) + items
    answer.require(newest_first(rows), "not newest first")
    seen = {item.id for item in after.items} if after else set()
    answer.require(not seen & {item.id for item in items}, "an item on two pages")
