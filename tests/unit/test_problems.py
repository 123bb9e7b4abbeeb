"""Where a field at fault is, as the client knows it."""

from uuid import UUID

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from app.api.problems import field_errors
from app.jobs import JobOptions
from tests.integration.api.kinds import Draw
from worker.kinds.dataset.spec import DatasetAggregate


def errors_of(model: type[JobOptions], spec: object) -> dict[str, str]:
    """Field and detail of each error of the specification, as the API names them."""
    with pytest.raises(ValidationError) as invalid:
        TypeAdapter(model).validate_python(spec)
    errors = [{**error, "loc": ("body", "spec", *error["loc"])} for error in invalid.value.errors()]
    found = field_errors(RequestValidationError(errors, body={"spec": spec}))
    return {error.field: error.detail for error in found}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"shapes": [{"shape": "square", "width": 0}]}, "body.spec.shapes.0.width"),
        ({"shapes": [{"shape": "square"}]}, "body.spec.shapes.0.width"),
        ({"shapes": [{"shape": "circle", "radius": 1, "x": 1}]}, "body.spec.shapes.0.x"),
        ({"shapes": [{"shape": "star"}]}, "body.spec.shapes.0.shape"),
        ({"shapes": [{"width": 1}]}, "body.spec.shapes.0.shape"),
        ({"shapes": {}}, "body.spec.shapes"),
        ({"source": "x"}, "body.spec.source"),
        ({"square": 1}, "body.spec.square"),
        ([], "body.spec"),
    ],
)
def test_a_field_is_named_without_the_branches_of_unions(spec: object, field: str) -> None:
    assert list(errors_of(Draw, spec)) == [field]


NAME = {"name": "n"}


@pytest.mark.parametrize(
    ("part", "field", "detail"),
    [
        ({"group_by": [5]}, "group_by.0", "Input should be an object"),
        ({"group_by": [{"column": "a"}]}, "group_by.0.op", "Field required"),
        ({"group_by": [{"op": "trunc"}]}, "group_by.0.op", "one of 'truncate', 'part', 'bin'"),
        ({"group_by": [{"op": 5, "column": "a"}]}, "group_by.0.op", "Input should be one of"),
        (
            {"group_by": [{"op": "bin", "column": "a", "width": 0, **NAME}]},
            "group_by.0.width",
            "greater than or equal to",
        ),
        ({"csv": {"types": {"a": "int"}}}, "csv.types.a", "write one of text, integer"),
        (
            {"csv": {"types": {"a": {"type": "date", "format": "%Y"}}}},
            "csv.types.a",
            "a date needs a year",
        ),
        ({"csv": {"types": {"a": {"type": "date"}}}}, "csv.types.a.format", "Field required"),
        ({"filters": [7]}, "filters.0", "Input should be an object"),
        # The branch and its field have one name.
        (
            {"aggregates": [{"op": "quantile", "quantile": 0.5, **NAME}]},
            "aggregates.0.column",
            "Field required",
        ),
        (
            {"aggregates": [{"op": "quantile", "quantile": 0.5, "column": 5, **NAME}]},
            "aggregates.0.column",
            "Input should be a valid string",
        ),
        (
            {"aggregates": [{"op": "quantile", "quantile": 5, "column": "a", **NAME}]},
            "aggregates.0.quantile",
            "less than or equal to 1",
        ),
    ],
)
def test_the_branches_that_a_value_was_not_meant_for_say_nothing(
    part: dict[str, object], field: str, detail: str
) -> None:
    spec = {"source": str(UUID(int=0)), "aggregates": [{"op": "count", **NAME}], **part}
    errors = errors_of(DatasetAggregate, spec)
    assert list(errors) == [f"body.spec.{field}"]
    assert detail in errors[f"body.spec.{field}"]
