"""`heavylift up` obeys a setting or refuses it by name; it ignores none."""

import socket
from pathlib import Path

import pytest

from app.cli.up import parts
from app.core.config import Jobs, Settings, Worker
from app.embedded.stack import Stack
from tests.integration.cli.conftest import Run, is_one_line, run_process


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEAVYLIFT_DATABASE_URL", "postgresql://heavylift@db/heavylift"),
        ("HEAVYLIFT_DATABASE_URL_FILE", "/run/secrets/database-url"),
        ("HEAVYLIFT_DATABASE_DIRECT_URL", "postgresql://heavylift@db/heavylift"),
        ("HEAVYLIFT_REDIS_URL", "redis://redis/0"),
        ("HEAVYLIFT_STORAGE_URL", "s3://bucket"),
        ("HEAVYLIFT_STORAGE_URL_FILE", "/run/secrets/storage-url"),
        ("HEAVYLIFT_SIGNALS_PORT", "9464"),
        ("HEAVYLIFT_SIGNALS_PORT_FILE", "/run/signals-port"),
    ],
)
def test_a_setting_without_effect_is_refused(
    run: Run, tmp_path: Path, variable: str, value: str
) -> None:
    outcome = run("up", "--data", str(tmp_path / "data"), **{variable: value})
    assert outcome.code == 2
    assert is_one_line(outcome.err)
    assert outcome.err.startswith(f"heavylift: {variable} is set")
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("host", "in_a_file"), [("127.0.0.1", False), ("::1", True)])
def test_the_apis_address_is_obeyed(tmp_path: Path, host: str, in_a_file: bool) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = str(taken.getsockname()[1])
        variables = {"HEAVYLIFT_API_PORT": port, "HEAVYLIFT_API_HOST": host}
        if in_a_file:
            for name, value in list(variables.items()):
                (tmp_path / name).write_text(value)
                variables[f"{name}_FILE"] = str(tmp_path / name)
                del variables[name]
        outcome = run_process("up", "--data", str(tmp_path / "data"), **variables)
    assert outcome.code == 2
    assert outcome.err == (
        f"heavylift: can't listen on {host} port {port}: Address already in use\n"
    )


def slots(settings: Settings, concurrency: int | None) -> dict[str, str]:
    return {
        part.name: part.arguments[-1]
        for part in parts(settings, concurrency)
        if part.name.startswith("worker-")
    }


def test_slots_are_the_options_then_the_settings() -> None:
    pools = Jobs(pools=("cpu", "io", "gpu"))
    unset, chosen = Settings(jobs=pools), Settings(jobs=pools, worker=Worker(concurrency=5))
    assert slots(unset, 3) == {"worker-cpu": "3", "worker-io": "2", "worker-gpu": "2"}
    assert slots(chosen, 3) == {"worker-cpu": "3", "worker-io": "5", "worker-gpu": "5"}
    assert slots(chosen, None) == {"worker-cpu": "5", "worker-io": "5", "worker-gpu": "5"}


def test_a_default_gives_way_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable outranks its file, so that the stack's own must not be there."""
    monkeypatch.setenv("HEAVYLIFT_LOG_FORMAT_FILE", "/run/log-format")
    stack = Stack(tmp_path / "stack")
    stack._prepare()
    try:
        assert "HEAVYLIFT_LOG_FORMAT" not in stack.environment
        assert stack.environment["HEAVYLIFT_API_GRACE"] == "3"
    finally:
        stack.stop()
