"""Numbers as JSON has them."""

import math
from typing import Annotated

from pydantic import BeforeValidator, Field


def _a_number(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("a number, not a text or a truth value")
    return value


# Beside `int`, for what comes in a body: Pydantic would take "1" and true for 1. Its strict mode
# would refuse 1.0, which JSON Schema calls an integer.
A_NUMBER = BeforeValidator(_a_number)


def _clamped(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return 0.0
    return min(max(value, 0.0), 1.0) if isinstance(value, int | float) else value


# From 0 to 1. Clamped when it is read: one row of another version must not fail the whole page, or
# the streams that are read with it. JSON has null in place of NaN.
Share = Annotated[float, BeforeValidator(_clamped), Field(ge=0, le=1)]
