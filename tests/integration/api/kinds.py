"""Job kinds for tests of the API, which never runs them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from app.jobs import FileId, JobContext, JobOptions, KindRegistry, job_kind


class Square(JobOptions):
    shape: Literal["square"]
    width: Annotated[int, Field(ge=1, le=100)]


class Circle(JobOptions):
    shape: Literal["circle"]
    radius: Annotated[float, Field(gt=0)]


Shape = Annotated[Square | Circle, Field(discriminator="shape")]


class Draw(JobOptions):
    source: FileId | None = None
    shapes: tuple[Shape, ...] = ()
    label: str = ""


class Drawn(JobOptions):
    shapes: int

    @field_validator("shapes")
    @classmethod
    def known(cls, shapes: int) -> int:
        if shapes == 13:
            raise LookupError("this server has no file of 13 shapes")
        return shapes


class Count(JobOptions):
    words: str


class Counted(JobOptions):
    total: int


@job_kind("shape.draw", pool="cpu", timeout=60)
def draw(spec: Draw, job: JobContext) -> Drawn:
    """Draw shapes."""
    return Drawn(shapes=len(spec.shapes))


@job_kind("word.count", pool="io", timeout=30, max_tries=5)
def count(spec: Count, job: JobContext) -> Counted:
    """Count words.

    All of them.
    """
    return Counted(total=len(spec.words.split()))


KINDS = KindRegistry([draw, count])
