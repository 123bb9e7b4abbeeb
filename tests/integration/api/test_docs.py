"""The pages that document the API, and the files that they are made of."""

import hashlib
import re

import pytest
from httpx2 import AsyncClient

from app.api.docs import ASSETS

pytestmark = pytest.mark.anyio


def test_what_others_made_is_what_was_fetched() -> None:
    lines = (ASSETS / "SHA256SUMS").read_text().splitlines()
    sums = {name: total for total, name in (line.split("  ") for line in lines if line[0] != "#")}
    found = {
        str(path.relative_to(ASSETS)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("swagger-ui", "redoc")
        for path in (ASSETS / folder).iterdir()
    }
    assert found == sums
    assert {"swagger-ui/LICENSE", "swagger-ui/NOTICE", "redoc/LICENSE"} <= found.keys()


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_a_page_is_made_of_files_of_ours(anonymous: AsyncClient, page: str) -> None:
    response = await anonymous.get(page)
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert policy[:2] == ["default-src 'none'", "script-src 'self'"]
    # No script in the page itself, nothing from elsewhere, and no address from the root: a
    # proxy may have put the application below a prefix.
    assert re.findall(r"<script(?! src=)", response.text) == []
    addresses = re.findall(r'(?:src|href)="([^"]*)"', response.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert re.match(r"docs/assets/[0-9a-f]{12}/", address)
        asset = await anonymous.get(f"/{address}")
        assert asset.status_code == 200
        assert asset.content == (ASSETS / address.split("/", 3)[3]).read_bytes()


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("swagger-ui/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui/swagger-ui.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_an_asset_is_kept_for_ever(
    anonymous: AsyncClient, name: str, content_type: str
) -> None:
    folder = re.findall(r'src="(docs/assets/\w+)/', (await anonymous.get("/docs")).text)[0]
    asset = await anonymous.get(f"/{folder}/{name}")
    assert asset.headers["Content-Type"] == content_type
    assert asset.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert asset.headers["X-Content-Type-Options"] == "nosniff"
    known = {"If-None-Match": asset.headers["ETag"]}
    again = await anonymous.get(f"/{folder}/{name}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == asset.headers["Cache-Control"]


async def test_no_other_file_is_served(anonymous: AsyncClient) -> None:
    folder = re.findall(r'src="(docs/assets/\w+)/', (await anonymous.get("/docs")).text)[0]
    for path in ("nothing.js", "..%2f__init__.py", "%2e%2e/__init__.py", "swagger-ui", ""):
        response = await anonymous.get(f"/{folder}/{path}")
        assert response.status_code == 404, path
        assert response.headers["Content-Type"] == "application/problem+json"


async def test_the_document_may_be_kept_and_is_asked_for_again(anonymous: AsyncClient) -> None:
    response = await anonymous.get("/openapi.json")
    assert response.headers["Cache-Control"] == "no-cache"
    missing = await anonymous.get("/openapi.yaml")
    assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "private, no-store")
