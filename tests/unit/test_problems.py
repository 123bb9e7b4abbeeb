"""Where a field at fault is, as the client knows it."""

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from app.api.problems import field_errors
from tests.integration.api.kinds import Draw


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"shapes": [{"shape": "square", "width": 0}]}, "body.spec.shapes.0.width"),
        ({"shapes": [{"shape": "square"}]}, "body.spec.shapes.0.width"),
        ({"shapes": [{"shape": "circle", "radius": 1, "x": 1}]}, "body.spec.shapes.0.x"),
        ({"shapes": [{"shape": "star"}]}, "body.spec.shapes.0"),
        ({"shapes": {}}, "body.spec.shapes"),
        ({"source": "x"}, "body.spec.source"),
        ({"square": 1}, "body.spec.square"),
        ([], "body.spec"),
    ],
)
def test_a_field_is_named_without_the_branches_of_unions(spec: object, field: str) -> None:
    body = {"spec": spec}
    with pytest.raises(ValidationError) as invalid:
        TypeAdapter(Draw).validate_python(spec)
    errors = [{**error, "loc": ("body", "spec", *error["loc"])} for error in invalid.value.errors()]
    found = field_errors(RequestValidationError(errors, body=body))
    assert [error.field for error in found] == [field]
