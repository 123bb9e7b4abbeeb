"""Numbers as JSON has them."""

from pydantic import BeforeValidator


def _a_number(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("a number, not a text or a truth value")
    return value


# Beside `int`, for what comes in a body: Pydantic would take "1" and true for 1. Its strict mode
# would refuse 1.0, which JSON Schema calls an integer.
A_NUMBER = BeforeValidator(_a_number)
