"""A kind that somebody else wrote, in a package that was installed beside Heavylift."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Client

from app.core.config import Settings
from tests.processes import Parts, parts
from tests.third_party.consumer import consumer, run, upload
from tests.third_party.installing import install

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parent / "acme-kinds"
CONTENT = b"to be compressed " * 20_000


@pytest.fixture
def installed(settings: Settings, clean: None, tmp_path: Path) -> Iterator[tuple[Parts, str]]:
    path = install(PACKAGE, tmp_path / "site-packages")
    with parts(settings, tmp_path) as running:
        yield running, path


@pytest.fixture
def client(installed: tuple[Parts, str]) -> Iterator[Client]:
    running, path = installed
    running.controller()
    worker = running.worker(pool="io", PYTHONPATH=path).ready()
    assert "acme.compress" in worker.output
    with consumer(running.api(PYTHONPATH=path)) as client:
        yield client


def test_it_has_all_that_a_built_in_one_has(client: Client) -> None:
    kinds = {kind["name"]: kind for kind in client.get("/jobs/kinds").json()["items"]}
    assert kinds.keys() == {"acme.compress", "dataset.aggregate", "image.transform", "text.extract"}
    assert kinds["acme.compress"] == {
        "name": "acme.compress",
        "summary": "Compress a file.",
        "description": "Compress a file.\n\nWith gzip, to a file of its own.",
        "pool": "io",
        "timeout": 60.0,
        "max_tries": 3,
        "slots": 1,
        "waiting": None,
    }
    schema = client.get("/jobs/kinds/acme.compress/schema").json()
    assert schema["properties"].keys() == {"source", "level"}
    assert schema["required"] == ["source"]

    document = client.get(str(client.base_url.copy_with(path="/openapi.json"))).json()
    operation = document["paths"]["/api/v1/jobs/acme.compress"]["post"]
    assert operation["operationId"] == "submit_acme_compress"
    models = document["components"]["schemas"]
    assert models["AcmeCompressSubmission"]["properties"]["spec"] == {
        "$ref": "#/components/schemas/Compress"
    }
    assert models["AcmeCompressResult"]["properties"]["kind"]["const"] == "acme.compress"

    source = upload(client, "long.txt", CONTENT)
    job, events = run(client, "acme.compress", {"source": source, "level": 9})
    assert (job["state"], job["error"]) == ("succeeded", None)
    assert events[-1]["state"] == "succeeded"
    result = client.get(f"/jobs/{job['id']}/result").json()
    assert result["kind"] == "acme.compress"
    packed = client.get(f"/files/{result['output']['file']}/content").content
    assert gzip.decompress(packed) == CONTENT
    assert result["output"]["size"] == len(packed)
    listed = client.get("/jobs", params={"kind": "acme.compress"}).json()["items"]
    assert [item["id"] for item in listed] == [job["id"]]

    # What does not fit is refused by its own types, what it refuses itself is a typed failure.
    refused = client.post("/jobs/acme.compress", json={"spec": {"source": source, "level": 10}})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["body.spec.level"]
    job, _ = run(client, "acme.compress", {"source": upload(client, "empty.txt", b"")})
    assert (job["state"], job["error"]["code"], job["tries"]) == ("failed", "file-empty", 1)


def test_without_the_package_there_is_no_such_kind(installed: tuple[Parts, str]) -> None:
    running, _ = installed
    with consumer(running.api()) as client:
        answer = client.post("/jobs/acme.compress", json={"spec": {}})
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/unknown-job-kind")
