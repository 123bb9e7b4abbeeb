"""What a consumer writes with a client generated from the OpenAPI document.

Run where that client is installed: flow.py URL PICTURE FOLDER
"""

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import httpx
from heavylift_client import AuthenticatedClient, Client
from heavylift_client.api.auth import login
from heavylift_client.api.files import download, get_file, upload
from heavylift_client.api.jobs import get_job, get_job_result, submit_image_transform
from heavylift_client.api.users import me, register
from heavylift_client.models import (
    ImageTransform,
    ImageTransformResult,
    ImageTransformSubmission,
    JobEvent,
    JobState,
    LoginForm,
    Problem,
    Rendition,
    RenditionFit,
    RenditionFormat,
    UserCreate,
)
from heavylift_client.types import File

EMAIL = "generated@example.com"
TIMEOUT = httpx.Timeout(60)

Answer = TypeVar("Answer")


def granted(answer: Answer | Problem | None) -> Answer:
    if answer is None or isinstance(answer, Problem):
        raise SystemExit(f"refused: {answer}")
    return answer


def account(url: str) -> AuthenticatedClient:
    password = secrets.token_urlsafe()
    with Client(base_url=url, timeout=TIMEOUT) as anonymous:
        granted(register.sync(client=anonymous, body=UserCreate(email=EMAIL, password=password)))
        form = LoginForm(username=EMAIL, password=password)
        token = granted(login.sync(client=anonymous, body=form))
    return AuthenticatedClient(base_url=url, token=token.access_token, timeout=TIMEOUT)


def store(client: AuthenticatedClient, picture: Path) -> UUID:
    with picture.open("rb") as content:
        file = granted(upload.sync(client=client, name=picture.name, body=File(payload=content)))
    assert file.size == picture.stat().st_size
    return file.id


def submit(client: AuthenticatedClient, source: UUID) -> UUID:
    thumbnail = Rendition(
        name="thumbnail",
        format_=RenditionFormat.WEBP,
        width=96,
        height=96,
        fit=RenditionFit.COVER,
    )
    submission = ImageTransformSubmission(
        spec=ImageTransform(source=source, renditions=[thumbnail]), priority=5
    )
    job = granted(
        submit_image_transform.sync(client=client, body=submission, idempotency_key="thumbnail")
    )
    assert job.kind == "image.transform"
    assert job.priority == 5
    return job.id


def follow(client: AuthenticatedClient, job_id: UUID) -> Iterator[JobEvent]:
    """A stream is read as it comes, which no generator writes: its items are typed all the same."""
    with client.get_httpx_client().stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        assert stream.status_code == 200
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield JobEvent.from_dict(json.loads(line.removeprefix("data: ")))


def fetch(client: AuthenticatedClient, job_id: UUID, folder: Path) -> None:
    result = granted(get_job_result.sync(job_id, client=client))
    assert isinstance(result, ImageTransformResult)
    for rendition in result.output.renditions:
        file = granted(get_file.sync(rendition.file, client=client))
        content = granted(download.sync(rendition.file, client=client))
        assert isinstance(content, File)
        folder.joinpath(file.name).write_bytes(content.payload.read())
        print(f"{file.name} {rendition.width} x {rendition.height} {file.content_type}")


def main(url: str, picture: Path, folder: Path) -> None:
    with account(url) as client:
        assert granted(me.sync(client=client)).email == EMAIL
        job_id = submit(client, store(client, picture))
        *_, last = follow(client, job_id)
        assert (last.state, last.progress) == (JobState.SUCCEEDED, 1.0), last
        assert granted(get_job.sync(job_id, client=client)).finished_at is not None
        fetch(client, job_id, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
