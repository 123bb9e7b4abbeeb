"""Every setting, by its type: what its user could not take is refused at the start."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from limits import parse

from app.core.config import PREFIX, ConfigurationError, Group, Settings, load_settings, variables
from app.core.db import _milliseconds

Load = Callable[[str, str], Any]
Schema = Mapping[str, Any]


def schemas() -> Iterator[tuple[str, Schema]]:
    """The variable and the JSON Schema of each setting."""
    for group, settings in Settings.model_fields.items():
        if isinstance(settings.annotation, type) and issubclass(settings.annotation, Group):
            for name, schema in settings.annotation.model_json_schema()["properties"].items():
                for option in schema.get("anyOf", [schema]):
                    yield f"{PREFIX}{group}_{name}".upper(), {**schema, **option}


NUMBERS = {
    name: schema for name, schema in schemas() if schema.get("type") in ("integer", "number")
}
RATES = [name for name, schema in schemas() if re.match(r"\d+/", str(schema.get("default")))]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load the settings with this one; its value is returned."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)

    def with_setting(variable: str, value: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            settings = load_settings.__wrapped__()
        group, _, name = variable.removeprefix(PREFIX).lower().partition("_")
        return getattr(getattr(settings, group), name)

    return with_setting


def test_there_are_settings_of_every_type() -> None:
    assert len(NUMBERS) > 30
    assert len(RATES) == 4


@pytest.mark.parametrize("variable", NUMBERS)
def test_a_number_out_of_its_bounds_is_refused_by_name(load: Load, variable: str) -> None:
    assert NUMBERS[variable].keys() & {"minimum", "exclusiveMinimum"}
    more = str(NUMBERS[variable]["maximum"] + 1)
    for value in ("inf", "-inf", "nan", "1e400", "1e30", "-1", "9" * 20, "9" * 5000, "", more):
        with pytest.raises(ConfigurationError, match=f"^{variable}: [^\n]+$"):
            load(variable, value)


@pytest.mark.parametrize("variable", NUMBERS)
def test_the_largest_number_is_one_that_its_user_takes(load: Load, variable: str) -> None:
    most = NUMBERS[variable]["maximum"]
    # The two that another setting must exceed.
    if variable not in ("HEAVYLIFT_API_GRACE", "HEAVYLIFT_API_SHUTDOWN_DELAY"):
        assert load(variable, str(most)) == most
    if variable.endswith(("_TTL", "_INTERVAL")):
        now = datetime.now(UTC)
        assert now - timedelta(seconds=most) < now < now + timedelta(seconds=most)
    elif NUMBERS[variable]["type"] == "number":
        assert _milliseconds(most) < 2**31
    else:
        assert most < (2**63 if "BYTES" in variable or "MEMORY" in variable else 2**31)


def test_bytes_that_are_not_utf_8_are_refused_in_every_setting(load: Load) -> None:
    for variable in variables():
        with pytest.raises(ConfigurationError, match=f"^{variable}: not UTF-8"):
            load(variable, "k:\udcff" + "s" * 40)


@pytest.mark.parametrize("variable", RATES)
@pytest.mark.parametrize(
    "value",
    [
        "0/minute",
        "00/5 minutes",
        "10/0 minutes",
        "10/00minutes",
        "10/5 minutes;5/hour",
        "10/minute,5/hour",
        "10/minute|5/hour",
        "10/minute;",
        "10/fortnight",
        "10/99999999999 years",
        "9" * 30 + "/minute",
        "9" * 5000 + "/minute",
        "-1/minute",
        "10/-5 minutes",
        "1e3/minute",
        "٣/minute",
        "10",
        "inf",
        "",
    ],
    ids=lambda value: value[:20],
)
def test_a_rate_that_is_not_one_limit_is_refused_by_name(
    load: Load, variable: str, value: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}: [^\n]+$"):
        load(variable, value)


@pytest.mark.parametrize(
    ("value", "amount", "seconds"),
    [
        ("10/minute", 10, 60),
        ("10/5 minutes", 10, 300),
        (" 10 per 5 minutes ", 10, 300),
        ("100000/MINUTE", 100_000, 60),
        ("1/365days", 1, 365 * 86400),
    ],
)
def test_a_rate_is_what_it_says(load: Load, value: str, amount: int, seconds: int) -> None:
    for variable in RATES:
        item = parse(load(variable, value))
        assert (item.amount, item.get_expiry()) == (amount, seconds)


def test_a_refused_rate_says_what_is_wrong(load: Load) -> None:
    for value, said in (
        ("0/minute", "0 would refuse everybody"),
        ("10/0 minutes", "longer than 0"),
        ("10/minute;5/hour", "one limit alone"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            load(RATES[0], value)


MAX_WORKERS = "HEAVYLIFT_CONTROLLER_MAX_WORKERS"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        ("cpu=10", {"cpu": 10}),
        (" cpu=10 , io=2,", {"cpu": 10, "io": 2}),
        ("gpu-a100=1", {"gpu-a100": 1}),
    ],
)
def test_the_most_workers_of_each_pool_are_read(
    load: Load, value: str, expected: dict[str, int]
) -> None:
    assert load(MAX_WORKERS, value) == expected


@pytest.mark.parametrize(
    "value",
    ["cpu", "cpu=", "=3", "cpu=0", "cpu=-1", "cpu=many", "cpu=1.5", "cpu=1,cpu=2", "cpu:3", "{}"],
)
def test_another_form_of_the_most_workers_is_refused(load: Load, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{MAX_WORKERS}") as refused:
        load(MAX_WORKERS, value)
    assert "\n" not in str(refused.value)
