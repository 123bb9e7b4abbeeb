"""What the README says of adding a job kind, done: written, installed, run by a real worker."""

from pathlib import Path

import pytest

from app.core.config import Settings
from tests.processes import parts
from tests.readme import files_of, lint
from tests.third_party.consumer import consumer, run, upload
from tests.third_party.installing import install


@pytest.mark.slow
def test_the_kind_runs(settings: Settings, clean: None, tmp_path: Path) -> None:
    project = tmp_path / "wordy"
    for path, content in files_of("Add a job kind").items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(content)
    installed = install(project, tmp_path / "site-packages")
    with parts(settings, tmp_path) as running:
        running.controller()
        running.worker(pool="cpu", PYTHONPATH=installed).ready()
        with consumer(running.api(PYTHONPATH=installed)) as client:
            source = upload(client, "text.txt", b"the cat and\nthe dog\n")
            job, _ = run(client, "text.count_words", {"source": source})
            assert job["state"] == "succeeded", job
            output = client.get(f"/jobs/{job['id']}/result").json()["output"]
    assert output == {"total": 5, "most_common": "the"}


def test_it_is_short_and_written_as_everything_here_is() -> None:
    files = files_of("Add a job kind")
    assert files.keys() == {"pyproject.toml", "src/wordy/__init__.py"}
    code = files["src/wordy/__init__.py"]
    assert len([line for line in code.splitlines() if line]) <= 20
    lint("wordy/__init__.py", code)
