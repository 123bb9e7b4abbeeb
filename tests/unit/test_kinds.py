"""Which kinds go together."""

import pytest
from pydantic import Field

from app.core.config import ConfigurationError
from app.jobs import JobContext, JobOptions, KindRegistry, job_kind, load_kinds, registry
from app.jobs.registry import AnyKind


class Nothing(JobOptions):
    pass


def kind(name: str) -> AnyKind:
    @job_kind(name, pool="cpu", timeout=1)
    def run(spec: Nothing, job: JobContext) -> Nothing:
        return spec

    return run


def test_kinds_go_by_name() -> None:
    kinds = KindRegistry([kind("b.c"), kind("a.bc"), kind("a.b_c"), kind("ab.c")])
    assert list(kinds) == ["a.b_c", "a.bc", "ab.c", "b.c"]
    assert kinds["a.b_c"].title == "ABC"


@pytest.mark.parametrize("other", ["a.b.c", "a.b__c", "a.b_c_"])
def test_kinds_that_openapi_could_not_tell_apart(other: str) -> None:
    with pytest.raises(ValueError, match="would both be ABC in OpenAPI") as refused:
        KindRegistry([kind("a.b_c"), kind(other)])
    assert "a.b_c" in str(refused.value)
    assert other in str(refused.value)


def test_a_kind_is_declared_once() -> None:
    with pytest.raises(ValueError, match=r"more than one installed package: a\.b$"):
        KindRegistry([kind("a.b"), kind("a.b")])


class Installed:
    """An entry point."""

    def __init__(self, kind: AnyKind) -> None:
        self.load = lambda: kind


def test_installed_kinds_that_clash_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clashing = [Installed(kind("a.b_c")), Installed(kind("a.b.c"))]
    monkeypatch.setattr(registry, "entry_points", lambda group: clashing)
    with pytest.raises(ConfigurationError, match=r"a\.b\.c and a\.b_c"):
        load_kinds()


class Sized(JobOptions):
    width: int = Field(examples=[])
    height: int = Field(examples=[3])


class Scaled(JobOptions):
    width: int = Field(1, examples=[])
    height: int = Field(examples=[3])


@pytest.mark.parametrize(("spec", "examples"), [(Sized, []), (Scaled, [{"height": 3}])])
def test_a_field_with_an_empty_list_of_examples_has_none(
    spec: type[JobOptions], examples: list[object]
) -> None:
    def run(spec: JobOptions, job: JobContext) -> Nothing:
        return Nothing()

    run.__annotations__["spec"] = spec
    assert job_kind("a.b", pool="cpu", timeout=1)(run).examples == examples


@pytest.mark.parametrize("target", [0, -1, float("inf"), float("nan")])
def test_a_wait_target_is_a_number_of_seconds(target: float) -> None:
    with pytest.raises(ValueError, match=r"^a\.b: wait_target must be a number of seconds above 0"):
        job_kind("a.b", pool="cpu", timeout=1, wait_target=target)
