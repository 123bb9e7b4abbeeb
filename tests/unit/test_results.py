"""A result is what the API will read: checked by that in the worker."""

import json
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import uuid4

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    field_serializer,
    model_serializer,
    model_validator,
)

from app.jobs import FileId, JobError, JobOptions
from app.jobs.results import PRINTED, read_result, stored_result

LIMIT = 100_000


class Point(BaseModel):
    x: float = 0
    y: float | None = None


class Labelled(Point):
    label: str = "here"


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    both: int = Field(alias="bothWays")
    out: int = Field(serialization_alias="outOnly")
    into: int = Field(validation_alias="inOnly")
    hidden: str = Field("", exclude=True)

    @computed_field
    def total(self) -> int:
        return self.both + self.out + self.into


class Cat(BaseModel):
    kind: Literal["cat"] = Field("cat", alias="type")


class Dog(BaseModel):
    kind: Literal["dog"] = Field("dog", alias="type")


class Many(BaseModel):
    points: list[Point] = []
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    words: set[str] = set()
    pair: tuple[int, date] = (1, date(2026, 1, 1))
    moment: datetime = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    took: timedelta = timedelta(seconds=1.5)
    price: Decimal = Decimal("1.10")
    by_number: dict[int, str] = {}
    anything: Any = None
    numbers: list[int | float] = []
    file: FileId | None = None


class Rounded(BaseModel):
    value: Annotated[float, PlainSerializer(lambda value: f"{value:.1f}")] = 0


class Strings(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    value: float


class Measures(RootModel[list[float]]):
    pass


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    day: date
    pair: tuple[int, int]


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


def constructed(model: type[BaseModel], **fields: Any) -> BaseModel:
    """Past all validation."""
    return model.model_construct(**fields)


GOOD: list[BaseModel] = [
    Point(x=1.5),
    Aliased(bothWays=1, out=2, inOnly=3),
    Many(
        points=[Point(x=1e300)],
        pets=[Dog(), Cat()],
        words={"a", "b", "c", "\ud7ff", "é"},
        by_number={1: "a", 10: "b"},
        anything={"deep": [1, {"er": None}], "é\n": "\x7f\x01"},
        numbers=[1, 2.5, 10**300, -(10**18)],
        file=FileId(int=uuid4().int),
    ),
    Rounded(value=1.26),
    Strings(value=math.inf),
    Measures([1.0, 2.5]),
    Strict(day=date(2026, 2, 3), pair=(1, 2)),
    Box[Point](content=Point()),
    constructed(Point, x=3),
]


@pytest.mark.parametrize("value", GOOD, ids=lambda value: type(value).__name__)
def test_a_result_is_read_as_it_was_returned(value: BaseModel) -> None:
    stored = stored_result(type(value), value, limit=LIMIT)
    # As PostgreSQL gives it back: other spaces, no exponents.
    printed = json.dumps(json.loads(stored))
    read = read_result(type(value), printed)
    # Not as JSON: a set has no order.
    assert read.model_dump(by_alias=True) == value.model_dump(by_alias=True)


def test_an_older_result_is_read_by_its_aliases() -> None:
    text = '{"bothWays": 1, "out": 2, "inOnly": 3}'
    assert read_result(Aliased, text) == Aliased(bothWays=1, out=2, inOnly=3)


def refused(model: type[BaseModel], value: object, *, limit: int = LIMIT) -> JobError:
    with pytest.raises(JobError) as caught:
        stored_result(model, value, limit=limit)
    assert not caught.value.retryable
    return caught.value


class Loop(BaseModel):
    me: Any = None


class Broken(BaseModel):
    value: int = 0

    @model_serializer
    def fails(self) -> dict[str, int]:
        raise KeyError("no")


class Exits(BaseModel):
    value: int = 0

    @field_serializer("value")
    def text(self, value: int) -> str:
        return f"{value} km"


class Forgetful(BaseModel):
    value: int = 0

    @model_validator(mode="after")
    def forget(self) -> "Forgetful":
        self.value = 0
        return self


class Forbidding(JobOptions):
    n: int = 0


class Growing(BaseModel):
    n: int = 0

    @computed_field
    def text(self) -> str:
        return "x" * self.n


async def asynchronous() -> Point:
    return Point()


def looped() -> Loop:
    loop = Loop()
    loop.me = loop
    return loop


def deep(levels: int) -> Loop:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return Loop(me=value)


NAN = math.nan

INVALID: dict[str, tuple[type[BaseModel], object, str]] = {
    "None": (Point, None, "returned None and declares Point"),
    "dict": (Point, {"x": 1}, "returned a dict"),
    "another model": (Point, Rounded(), "returned a Rounded"),
    "the class": (Point, Point, "returned a ModelMetaclass"),
    "coroutine": (Point, asynchronous(), "returned a coroutine (declare it with def"),
    "generator": (Point, (Point() for _ in range(1)), "returned a generator"),
    "subclass": (Point, Labelled(), "label"),
    "part of a subclass": (Many, Many(points=[Labelled()]), "points.0.label"),
    "nan": (Point, Point(x=NAN), "x: JSON has no nan"),
    "nan that may be None": (Point, Point(y=math.inf), "y: JSON has no inf"),
    "nan in anything": (Many, Many(anything={"a": [1, NAN]}), "anything.a.1"),
    "nan in numbers": (Many, Many(numbers=[1, -math.inf]), "numbers.1: JSON has no -inf"),
    "nan at the root": (Measures, Measures([NAN]), "0: JSON has no nan"),
    "nan of a Decimal": (Many, constructed(Many, price=Decimal("nan")), "price"),
    "constructed empty": (Strict, constructed(Strict), "day"),
    "constructed wrongly": (Point, constructed(Point, x="far"), "x"),
    "constructed nearly": (Point, constructed(Point, x="1"), "x"),
    "of another type": (Forbidding, constructed(Forbidding, n=[1]), "n"),
    "bytes": (Loop, Loop(me=b"\xff"), "Loop does not become JSON"),
    "object": (Loop, Loop(me=object()), "Loop does not become JSON"),
    "itself": (Loop, looped(), "Loop does not become JSON"),
    "deep": (Loop, deep(3000), "Loop does not become JSON"),
    "surrogate": (Loop, Loop(me="\ud800"), "Loop does not become JSON"),
    "nul": (Loop, Loop(me={"a": ["x\0y"]}), "me.a.0: text can't have"),
    "nul in a key": (Loop, Loop(me={"x\0y": 1}), "me.'x\\x00y': a key can't have"),
    "5,000 digits": (Loop, Loop(me=10**4000 * 10**1000), "Loop does not become JSON"),
    "key twice": (Loop, Loop(me={1: "a", "1": "b"}), "a key stands twice"),
    "serializer raises": (Broken, Broken(), "KeyError"),
    "serializer of another type": (Exits, Exits(value=3), "value"),
    "lost when read": (Forgetful, constructed(Forgetful, value=3), "value: lost or changed"),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_result_that_the_api_could_not_read_is_refused_by_name(name: str) -> None:
    model, value, detail = INVALID[name]
    error = refused(model, value)
    assert error.code == "result-invalid"
    assert detail in error.detail


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (Loop(me="x" * 1000), 1009),
        (Loop(me=["é" * 500]), 1011),
        # 1e300 is 301 digits in jsonb.
        (Loop(me=[1e300] * 4), 1216),
        (Growing(n=1000), 1020),
    ],
)
def test_a_result_is_as_large_as_the_api_would_make_it(value: BaseModel, size: int) -> None:
    error = refused(type(value), value, limit=1000)
    assert error.code == "result-too-large"
    assert f"has {size} bytes of JSON, the limit is 1000" in error.detail
    stored_result(type(value), value, limit=size)


@pytest.mark.parametrize(
    "value", [[1] * 300, [[]] * 300, [{"": 1}] * 100, {str(n): n for n in range(90)}]
)
def test_postgresql_prints_a_result_within_what_the_api_reads(value: object) -> None:
    stored = stored_result(Loop, Loop(me=value), limit=1000)
    # json's own spaces are jsonb's.
    assert len(json.dumps(json.loads(stored))) <= 1000 * PRINTED
