"""A job kind is a function whose type hints are its contract."""

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict

from app.jobs.context import JobContext

NAME = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9_]*)+")


class JobOptions(BaseModel):
    """Base of every specification and of its parts: unknown fields are refused, values frozen."""

    # JSON has no infinity: what came as 1e999 would be stored as null, and no worker could read it.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Spec = TypeVar("Spec", bound=BaseModel)
Result = TypeVar("Result", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class JobKind(Generic[Spec, Result]):
    """A kind as declared. Calling it runs the job.

    `timeout` is in seconds and for one attempt; `max_tries` counts attempts that failed or timed
    out, not those that were lost with their worker or put back. `wait_target`, in seconds, is how
    long an attempt should wait at most before it starts; None: as the setting says.
    """

    name: str
    pool: str
    timeout: float
    max_tries: int
    spec: type[Spec]
    result: type[Result]
    run: Callable[[Spec, JobContext], Result]
    wait_target: float | None = None

    @property
    def title(self) -> str:
        """`ImageTransform` of `image.transform`: what OpenAPI's names are made of."""
        return "".join(part.capitalize() for part in re.split(r"[._]", self.name))

    @property
    def description(self) -> str:
        return inspect.getdoc(self.run) or ""

    @property
    def summary(self) -> str:
        return self.description.partition("\n")[0]

    @property
    def examples(self) -> list[Any]:
        """Example specifications in JSON for readers of the documentation.

        The model's own, or else one of its fields' first examples, if all required fields have one.
        """
        schema = self.spec.model_json_schema()
        if "examples" in schema:
            examples: list[Any] = schema["examples"]
            return examples
        fields = schema.get("properties", {})
        example = {
            name: field["examples"][0] for name, field in fields.items() if field.get("examples")
        }
        return [example] if example.keys() >= set(schema.get("required", [])) else []

    def __call__(self, spec: Spec, job: JobContext) -> Result:
        return self.run(spec, job)


def job_kind(
    name: str, *, pool: str, timeout: float, max_tries: int = 3, wait_target: float | None = None
) -> Callable[[Callable[[Spec, JobContext], Result]], JobKind[Spec, Result]]:
    """Declare the decorated function as the job kind `name`, run by the workers of `pool`.

    The function takes the specification and a `JobContext` and returns the result; both are
    Pydantic models, read off its type hints. Import heavy libraries inside it: the API loads this
    module too. `timeout` is in seconds, for one attempt. `wait_target` is in seconds, too: within
    that time an attempt should start once it may (`HEAVYLIFT_JOBS_WAIT_TARGET` by default). It does
    not change the order of jobs; metrics and alerts measure against it.

    The result is kept as JSON, at most `HEAVYLIFT_JOBS_MAX_RESULT_BYTES` of it. A job fails with
    `result-too-large` beyond that, and with `result-invalid` if the function returns another type
    or a value that its model does not read back as the same, such as NaN. Its fields must not be
    of types that only some readers accept (`FilePath`, `FutureDatetime`), nor secrets.

    "Try it out" in Swagger UI begins with the first example of the specification: give one to the
    model (`model_config = ConfigDict(json_schema_extra={"examples": [{...}]})`) or to each required
    field (`Field(examples=[...])`). It should be accepted as it is, except that each id of a file
    is `EXAMPLE_FILE`, which the reader replaces.

    Raises `TypeError` or `ValueError` when the declaration itself is wrong.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no kind's name: write it as 'family.verb', in lower case")
    if timeout <= 0 or max_tries < 1:
        raise ValueError(f"{name}: timeout must be above 0 and max_tries at least 1")
    if wait_target is not None and not 0 < wait_target < math.inf:
        raise ValueError(f"{name}: wait_target must be a number of seconds above 0, or None")

    def declare(function: Callable[[Spec, JobContext], Result]) -> JobKind[Spec, Result]:
        hints = get_type_hints(function)
        parameters = list(inspect.signature(function).parameters)
        if len(parameters) != 2 or "return" not in hints:
            raise TypeError(f"{name}: declare it as f(spec: Spec, job: JobContext) -> Result")
        spec, result = hints[parameters[0]], hints["return"]
        for role, model in (("specification", spec), ("result", result)):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                raise TypeError(f"{name}: its {role} must be a Pydantic model, not {model!r}")
        if spec.model_config.get("extra") != "forbid":
            raise TypeError(
                f"{name}: derive {spec.__name__} from JobOptions: unknown fields are refused"
            )
        return JobKind(name, pool, timeout, max_tries, spec, result, function, wait_target)

    return declare
