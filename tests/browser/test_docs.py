"""The pages that document the API, as people use them, on a network without an internet."""

import json
import re

import httpx2
from playwright.sync_api import Locator, Page, expect

from app.schemas.user import EXAMPLE_EMAIL, EXAMPLE_PASSWORD
from tests.browser.conftest import Site, Visit

EMAIL, PASSWORD = "ada@example.com", "correct horse battery"


def register(site: Site) -> None:
    response = httpx2.post(
        f"{site.local_url}/api/v1/users", json={"email": EMAIL, "password": PASSWORD}
    )
    assert response.status_code == 201, response.text


def authorize(page: Page) -> None:
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_label("username").fill(EMAIL)
    dialog.get_by_label("password").fill(PASSWORD)
    dialog.get_by_role("button", name="Apply given OAuth2 credentials").click()
    expect(dialog.get_by_text("Authorized", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Close").last.click()


def try_out(page: Page, method: str, path: str) -> Locator:
    """An operation, opened, with its fields to fill in."""
    operation = page.locator(f".opblock-{method}", has=page.locator(f'[data-path="{path}"]'))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    return operation


def execute(operation: Locator) -> tuple[int, dict[str, object]]:
    """The status and the body that the page shows."""
    with operation.page.expect_response(re.compile("/api/v1/jobs/")) as sent:
        operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response")
    expect(answer.locator(".response-col_status")).to_contain_text(str(sent.value.status))
    request_id = sent.value.headers["x-request-id"]
    expect(answer).to_contain_text(request_id)
    body: dict[str, object] = json.loads(answer.locator(".highlight-code code").first.inner_text())
    return sent.value.status, body


def test_a_job_from_swagger_ui(site: Site, visit: Visit) -> None:
    site.parts.controller()
    site.parts.worker().ready()
    register(site)
    page = visit.page
    page.goto(f"{site.url}/docs")
    authorize(page)

    submit = try_out(page, "post", "/api/v1/jobs/test.nap")
    submit.locator("textarea.body-param__text").fill(json.dumps({"spec": {"seconds": 0.1}}))
    status, job = execute(submit)
    assert (status, job["kind"], job["state"]) == (202, "test.nap", "queued")

    follow = try_out(page, "get", "/api/v1/jobs/{job_id}")
    follow.get_by_placeholder("job_id").fill(str(job["id"]))
    for _ in range(100):
        status, job = execute(follow)
        if job["state"] not in ("queued", "running"):
            break
    assert (status, job["state"]) == (200, "succeeded"), job
    assert visit.strangers == []
    assert visit.complaints == []


def test_try_it_out_begins_with_the_example(site: Site, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{site.url}/docs")
    document = httpx2.get(f"{site.local_url}/openapi.json").json()
    shown = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {"content": {}})["content"].get("application/json")
            # Not the tests' own kinds: not all of them have examples.
            if body is None or "/jobs/test." in path:
                continue
            schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            text = try_out(page, method, path).locator("textarea.body-param__text").input_value()
            assert json.loads(text) == schema["examples"][0], path
            shown += 1
    assert shown >= 16
    upload = try_out(page, "post", "/api/v1/files")
    expect(upload.get_by_placeholder("name", exact=True)).to_have_value("photograph.jpg")
    login = try_out(page, "post", "/api/v1/auth/login")
    expect(login.get_by_placeholder("username", exact=True)).to_have_value(EXAMPLE_EMAIL)
    expect(login.get_by_placeholder("password", exact=True)).to_have_value(EXAMPLE_PASSWORD)
    for optional in ("client_id", "client_secret", "scope"):
        expect(login.get_by_placeholder(optional, exact=True)).to_have_value("")
    assert visit.complaints == []


def test_redoc_shows_every_operation(site: Site, visit: Visit) -> None:
    page = visit.page
    page.goto(f"{site.url}/redoc")
    document = httpx2.get(f"{site.local_url}/openapi.json").json()
    ids = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) > 20
    expect(page.locator('[id^="tag/"][id*="/operation/"]')).to_have_count(len(ids))
    # Its search runs in a worker that it makes of its own script.
    page.get_by_role("textbox").fill("nap")
    expect(page.get_by_role("search")).to_contain_text("Sleep, and look up often.")
    assert visit.strangers == []
    assert visit.complaints == []
