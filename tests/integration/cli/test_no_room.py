"""Servers without shared memory or a scratch folder: one line and exit code 2, or they run."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import Settings
from app.embedded.stack import command
from tests.processes import environment, until

pytestmark = pytest.mark.slow

# In a mount namespace of its own, what a container may find in the place of a good folder.
MOUNTS = {
    "missing": "mount --bind /proc {folder}",
    "read-only": "mount -t tmpfs -o ro none {folder}",
    "full": "mount -t tmpfs -o size=4k none {folder} && head -c 4096 /dev/zero > {folder}/full",
}


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="needs root and mount namespaces")


def mounted(state: str, folder: str, *arguments: str) -> list[str]:
    script = f'{MOUNTS[state].format(folder=folder)} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *command(*arguments)]


def complaint(arguments: list[str], env: dict[str, str]) -> str:
    ended = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2, ended
    (line,) = ended.stderr.splitlines()
    assert "Traceback" not in ended.stdout
    return line


@needs_mounts
@pytest.mark.parametrize("state", ["missing", "read-only", "full"])
def test_a_worker_says_that_it_needs_shared_memory(state: str, settings: Settings) -> None:
    line = complaint(mounted(state, "/dev/shm", "worker"), environment(settings))
    assert line.startswith("heavylift: the worker needs shared memory: /dev/shm: ")
    assert line.endswith("(mount a writable tmpfs there, with space left)")


@needs_mounts
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_api_without_shared_memory_uses_the_disk(
    processes: str, settings: Settings, tmp_path: Path
) -> None:
    env = environment(
        settings,
        TMPDIR=str(tmp_path),
        HEAVYLIFT_API_PORT="0",
        HEAVYLIFT_API_PROCESSES=processes,
        HEAVYLIFT_SIGNALS_PORT="0",
        HEAVYLIFT_LOG_FORMAT="text",
    )
    log = tmp_path / "log"
    with log.open("w") as output:
        api = subprocess.Popen(
            mounted("full", "/dev/shm", "api"), env=env, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(
            lambda: log.read_text().count("started ") == int(processes) or api.poll() is not None,
            seconds=60,
            what="it has started",
        )
        assert api.poll() is None, log.read_text()
        assert bool(list(tmp_path.glob("heavylift-metrics-*"))) == (processes == "2")
    finally:
        api.send_signal(signal.SIGTERM)
        assert api.wait(60) == 0
    assert not list(tmp_path.glob("heavylift-metrics-*"))


@needs_mounts
@pytest.mark.parametrize("state", ["read-only", "full"])
def test_a_worker_says_that_its_scratch_folder_is_unusable(
    state: str, settings: Settings, tmp_path: Path
) -> None:
    env = environment(settings, HEAVYLIFT_WORKER_SCRATCH=str(tmp_path))
    line = complaint(mounted(state, str(tmp_path), "worker"), env)
    assert re.fullmatch(
        f"heavylift: HEAVYLIFT_WORKER_SCRATCH: can't write to {tmp_path}: "
        "(Read-only file system|No space left on device)",
        line,
    )


def test_a_worker_says_that_its_scratch_folder_is_missing(
    settings: Settings, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    env = environment(settings, HEAVYLIFT_WORKER_SCRATCH=str(nowhere))
    assert complaint(command("worker"), env) == (
        f"heavylift: HEAVYLIFT_WORKER_SCRATCH: can't write to {nowhere}: No such file or directory"
    )


WITHOUT_FOLDERS = """
import sys, tempfile
from app.cli import main
tempfile._candidate_tempdir_list = lambda: ["/proc"]
sys.argv = ["heavylift", sys.argv[1]]
sys.exit(main())
"""


@needs_mounts
@pytest.mark.parametrize("name", ["worker", "api"])
def test_a_server_says_that_there_is_no_temporary_folder(name: str, settings: Settings) -> None:
    """/dev/shm, which the API would use, is read-only too."""
    state = "read-only" if name == "api" else "usable"
    mount = MOUNTS.get(state, "true").format(folder="/dev/shm")
    arguments = ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    line = complaint(
        [*arguments, sys.executable, "-c", WITHOUT_FOLDERS, name],
        environment(settings, HEAVYLIFT_API_PORT="0"),
    )
    assert line.startswith("heavylift: TMPDIR: No usable temporary directory found in ['/proc']")
