"""A worker that can't run with its settings says so before it takes a job."""

from collections.abc import Mapping

import pytest

from tests.integration.cli.conftest import is_one_line, run_process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEAVYLIFT_STORAGE_URL", "nowhere://bucket"),
        ("HEAVYLIFT_WORKER_SCRATCH", "/nonexistent"),
        ("HEAVYLIFT_WORKER_SCRATCH", "/etc/hostname"),
    ],
)
def test_a_bad_setting_is_one_line(variables: Mapping[str, str], variable: str, value: str) -> None:
    outcome = run_process("worker", **{**variables, variable: value})
    assert outcome.code == 2
    assert outcome.out == ""
    assert is_one_line(outcome.err)
    assert outcome.err.startswith(f"heavylift: {variable}: can't ")
    assert value in outcome.err
