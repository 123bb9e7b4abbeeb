"""The README's example of a kind is one."""

import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from app.jobs import JobKind
from app.jobs.registry import GROUP
from tests.kinds_builtin.conftest import FolderContext

README = Path(__file__).parents[2] / "README.md"


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    return str(found)


def test_it_runs(job: FolderContext, tmp_path: Path) -> None:
    module: dict[str, Any] = {}
    exec(block("python"), module)
    [kind] = [found for found in module.values() if isinstance(found, JobKind)]
    [(name, target)] = tomllib.loads(block("toml"))["project"]["entry-points"][GROUP].items()
    assert name == kind.name
    assert module[target.partition(":")[2]] is kind
    source = tmp_path / "source"
    source.write_bytes(b"heavy")
    result = kind(kind.spec(source=job.give(source)), job)
    assert result.sha256 == hashlib.sha256(b"heavy").hexdigest()
