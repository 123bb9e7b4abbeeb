"""What of a specification is stored."""

import json
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4

import pytest
from pydantic import Field, RootModel

from app.jobs import JobOptions
from app.jobs.submitted import as_submitted


class Part(JobOptions):
    size: int = 1
    seed: UUID = Field(default_factory=uuid4)


class Plain(JobOptions):
    size: int = 1


class Square(JobOptions):
    shape: Literal["square"]
    side: int = 2


class Circle(JobOptions):
    shape: Literal["circle"] = "circle"
    radius: int = 3


class Names(RootModel[list[Plain]]):
    pass


class Spec(JobOptions):
    width: int
    height: int = 10
    seed: UUID = Field(default_factory=uuid4)
    later: datetime | None = None
    tags: list[str] = Field(default_factory=list)
    plain: Plain = Field(default_factory=Plain)
    constant: Plain = Plain(size=7)
    part: Part = Field(default_factory=Part)
    parts: tuple[Part, ...] = ()
    pair: tuple[Plain, Plain] | None = None
    by_name: dict[str, Plain] | None = None
    shape: Annotated[Square | Circle, Field(discriminator="shape")] | None = None
    names: Names = Names([])
    crop_to: int = Field(default=0, alias="cropTo")


def stored(**given: object) -> dict[str, object]:
    """Also the same to whoever reads it."""
    spec = Spec.model_validate(given)
    text = as_submitted(spec)
    assert Spec.model_validate_json(text) == spec
    found: dict[str, object] = json.loads(text)
    for seeded in (found, found["part"]):
        assert isinstance(seeded, dict)
        UUID(str(seeded.pop("seed")))
    assert found.pop("part") == {}
    return found


@pytest.mark.parametrize(
    "given",
    [
        {"width": 1},
        # Said is said, though it is the default.
        {"width": 1, "height": 10, "later": None, "tags": []},
        {"width": 1, "plain": {}, "constant": {"size": 1}},
        {"width": 1, "pair": [{}, {"size": 1}]},
        {"width": 1, "by_name": {"a": {}, "b": {"size": 2}}},
        {"width": 1, "shape": {"shape": "square"}},
        {"width": 1, "shape": {"shape": "circle", "radius": 3}},
        {"width": 1, "names": [{}, {"size": 1}]},
        {"width": 1, "cropTo": 5},
    ],
)
def test_what_the_client_said_is_stored_and_no_default(given: dict[str, object]) -> None:
    assert stored(**given) == given


def test_what_was_made_up_for_this_job_is_stored() -> None:
    spec = Spec.model_validate({"width": 1, "parts": [{"size": 2}]})
    found = json.loads(as_submitted(spec))
    assert found == {
        "width": 1,
        "seed": str(spec.seed),
        "part": {"seed": str(spec.part.seed)},
        "parts": [{"size": 2, "seed": str(spec.parts[0].seed)}],
    }


def test_a_version_that_does_not_know_a_field_reads_what_does_not_name_it() -> None:
    class Next(Plain):
        loudly: bool = False

    assert Plain.model_validate_json(as_submitted(Next(size=2))) == Plain(size=2)
