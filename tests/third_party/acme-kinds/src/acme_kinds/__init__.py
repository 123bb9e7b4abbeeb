"""Job kinds of a company that knows Heavylift from its documentation only."""

import gzip
from typing import Annotated

from pydantic import BaseModel, Field

from app.jobs import FileId, JobContext, JobError, JobOptions, job_kind

CHUNK = 64 * 1024


class Compress(JobOptions):
    source: FileId
    level: Annotated[int, Field(ge=1, le=9)] = 6


class Compressed(BaseModel):
    file: FileId
    size: int
    saved: float


@job_kind("acme.compress", pool="io", timeout=60)
def compress(spec: Compress, job: JobContext) -> Compressed:
    """Compress a file.

    With gzip, to a file of its own.
    """
    source, packed = job.input(spec.source), job.scratch / "packed.gz"
    size = source.stat().st_size
    if size == 0:
        raise JobError("file-empty", "there is nothing to compress: send a file that has bytes")
    with source.open("rb") as read, gzip.open(packed, "wb", spec.level) as written:
        while chunk := read.read(CHUNK):
            written.write(chunk)
            job.progress(read.tell() / size, "compressing")
    return Compressed(
        file=job.output(packed, name="packed.gz", content_type="application/gzip"),
        size=packed.stat().st_size,
        saved=1 - packed.stat().st_size / size,
    )
