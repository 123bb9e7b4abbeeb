"""A result is what the API will read: checked by that in the worker."""

import json
import math
from collections import deque
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import uuid4

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    FutureDatetime,
    PastDate,
    PlainSerializer,
    PlainValidator,
    RootModel,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from app.api.v1.endpoints.jobs import _result_models
from app.jobs import FileId, JobContext, JobError, JobOptions, job_kind
from app.jobs.registry import KindRegistry
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


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)

    tags: frozenset[str] = frozenset()


class Colour(Enum):
    RED = "red"


class Plain:
    """It has no equality of its own."""

    def __init__(self, text: str) -> None:
        self.text = text


class Foreign(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, use_enum_values=True)

    plain: Annotated[
        Plain,
        PlainValidator(lambda value: Plain(getattr(value, "text", value))),
        PlainSerializer(lambda value: value.text),
    ]
    # A default is not validated: it stays a member of the enumeration.
    colour: Colour = Colour.RED
    models: set[Frozen] = set()
    path: Path = Path("a/b")
    secret: Annotated[
        SecretStr, PlainSerializer(lambda value: value.get_secret_value(), when_used="json")
    ] = SecretStr("")
    steps: deque[timedelta] = deque()


class Loop(BaseModel):
    me: Any = None


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


FOREIGN = Foreign(
    plain=Plain("p"),
    models={Frozen(tags=frozenset("ab")), Frozen(tags=frozenset("cdef"))},
    secret=SecretStr("kept"),
    steps=deque([timedelta(days=400, microseconds=1)]),
)

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


@pytest.mark.parametrize(
    "value",
    [
        FOREIGN,
        Loop(me={"tuple": (1, 2.5), "day": date(2026, 1, 1), "set": {"a", "b"}, "m": Point(x=2)}),
        Loop(me=[Colour.RED, Path("a"), Decimal("1.10"), {1: Frozen(tags=frozenset("abc"))}]),
        Rounded(value=0.04),
    ],
    ids=["foreign types", "parts of any type", "list of any type", "rounded to zero"],
)
def test_a_result_may_be_read_as_an_equivalent(value: BaseModel) -> None:
    read_result(type(value), stored_result(type(value), value, limit=LIMIT))


def test_an_older_result_is_read_by_its_aliases() -> None:
    text = '{"bothWays": 1, "out": 2, "inOnly": 3}'
    assert read_result(Aliased, text) == Aliased(bothWays=1, out=2, inOnly=3)


def refused(model: type[BaseModel], value: object, *, limit: int = LIMIT) -> JobError:
    with pytest.raises(JobError) as caught:
        stored_result(model, value, limit=limit)
    assert not caught.value.retryable
    return caught.value


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


class Dropping(BaseModel):
    value: float = 0
    flag: bool = False

    @model_serializer
    def some(self) -> dict[str, float]:
        return {}


class Changing(BaseModel):
    parts: list[int] = []
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    @field_serializer("parts")
    def some(self, parts: list[int]) -> list[int]:
        return parts[:2]

    @field_serializer("moment")
    def day(self, moment: datetime) -> str:
        return f"{moment:%Y-%m-%d}T00:00:00Z"


class Reversing(BaseModel):
    values: list[int]

    @field_validator("values")
    @classmethod
    def turned(cls, values: list[int]) -> list[int]:
        return values[::-1]


class Hidden(BaseModel):
    word: SecretStr = SecretStr("")
    data: dict[str, SecretBytes] = {}


class Ratio(BaseModel):
    done: float = 0

    @computed_field
    def per_item(self) -> float:
        return self.done * math.inf


class Doubled(BaseModel):
    a: int = Field(serialization_alias="same")
    b: int = Field(serialization_alias="same")


class Streamed(BaseModel):
    numbers: Iterable[int]


class OnDisk(BaseModel):
    kept: FilePath


class Folders(BaseModel):
    kept: list[DirectoryPath] = []


class Soon(BaseModel):
    inner: dict[str, FutureDatetime] = {}


class Before(BaseModel):
    day: PastDate | None = None


class Forbidding(JobOptions):
    n: int = 0


class Growing(BaseModel):
    n: int = 0

    @computed_field
    def text(self) -> str:
        return "x" * self.n


async def asynchronous() -> Point:
    return Point()


def deepest(spec: Forbidding, job: JobContext) -> Loop:
    return Loop()


def stored_or_none(levels: int) -> str | None:
    try:
        return stored_result(Loop, deep(levels), limit=LIMIT)
    except JobError:
        return None


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
    "one-shot in any type": (Loop, Loop(me={"a": (n for n in range(3))}), "me.a: an iterator is"),
    "map in any type": (Loop, Loop(me=map(str, [1])), "me: an iterator is"),
    "one-shot by type": (Streamed, Streamed(numbers=[1, 2]), "numbers: an iterator is"),
    "secret": (Hidden, Hidden(word=SecretStr("abc")), "word: lost or changed"),
    "secret bytes": (Hidden, Hidden(data={"a": SecretBytes(b"abc")}), "data.a: lost or changed"),
    "secret in any type": (Loop, Loop(me=[SecretStr("abc")]), "me.0: lost or changed"),
    "secret of a part": (Loop, Loop(me=(Hidden(word=SecretStr("a")),)), "me.0.word: lost"),
    "dropped": (Dropping, Dropping(value=0.3), "value: lost or changed"),
    "dropped flag": (Dropping, Dropping(flag=True), "flag: lost or changed"),
    "shortened": (Changing, Changing(parts=[1, 2, 3]), "parts.2: lost or changed"),
    "time of a day": (
        Changing,
        Changing(moment=datetime(2026, 1, 1, 9, tzinfo=UTC)),
        "moment: lost",
    ),
    "rounded too far": (Dropping, Dropping(value=1), "value: lost or changed"),
    "reordered": (Reversing, constructed(Reversing, values=[1, 2, 3]), "values.0: lost or"),
    "computed nan": (Ratio, Ratio(), "per_item: JSON has no nan"),
    "computed inf of a part": (Box[Ratio], Box[Ratio](content=Ratio(done=1)), "content.per_item"),
    "alias twice": (Doubled, Doubled(a=1, b=2), "a key stands twice in one object: same"),
    "file path": (OnDisk, OnDisk(kept=Path(__file__)), "kept: a path that is checked"),
    "folder path": (Folders, Folders(), "kept: a path that is checked"),
    "future": (Soon, Soon(), "inner: a datetime that must be future"),
    "past": (Before, Before(), "day: a date that must be past"),
    "lost when read": (Forgetful, constructed(Forgetful, value=3), "value: lost or changed"),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_result_that_the_api_could_not_read_is_refused_by_name(name: str) -> None:
    model, value, detail = INVALID[name]
    error = refused(model, value)
    assert error.code == "result-invalid"
    assert detail in error.detail


def test_the_api_reads_every_result_that_the_worker_takes() -> None:
    kind = job_kind("test.deep", pool="cpu", timeout=1)(deepest)
    (model,) = _result_models(KindRegistry([kind])).values()
    taken = {levels: stored for levels in range(190, 203) if (stored := stored_or_none(levels))}
    assert 190 in taken
    assert 202 not in taken
    for stored in taken.values():
        text = f'{{"job_id": "{uuid4()}", "kind": "test.deep", "output": {stored}}}'
        assert read_result(model, text).model_dump_json(by_alias=True)


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
