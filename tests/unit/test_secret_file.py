from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from app.core.config import Settings
from app.core.secret_file import SecretFile

FIRST = "postgresql://first:one@db/heavylift"
SECOND = "postgresql://second:two@db/heavylift"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"{FIRST}\n")
    return path


@pytest.fixture
def secret(file: Path, monkeypatch: pytest.MonkeyPatch) -> SecretStr:
    monkeypatch.setenv("HEAVYLIFT_DATABASE_URL_FILE", str(file))
    return Settings().database.url


def test_the_database_follows_its_file(secret: SecretStr, file: Path) -> None:
    assert isinstance(secret, SecretFile)
    assert secret.get_secret_value() == FIRST
    file.write_text(SECOND)
    assert secret.get_secret_value() == SECOND


@pytest.mark.parametrize("content", [None, "", "mysql://db/heavylift", b"\xff"])
def test_what_is_no_good_changes_nothing_and_is_said_once(
    secret: SecretStr, file: Path, content: str | bytes | None
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with structlog.testing.capture_logs() as logs:
        assert [secret.get_secret_value() for _ in range(3)] == [FIRST] * 3
    assert [line["event"] for line in logs] == ["secret not read anew"]
    file.write_text(SECOND)
    assert secret.get_secret_value() == SECOND


def test_no_line_has_the_secret(secret: SecretStr, file: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        file.write_text(SECOND)
        secret.get_secret_value()
        file.write_text("mysql://second:two@db/heavylift")
        secret.get_secret_value()
    assert len(logs) == 2
    assert "two" not in str(logs)
    assert "two" not in f"{secret!r} {secret}"
