"""What a job starts, and what it changes of its process: nothing of it outlives the attempt."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from uuid import UUID

import psutil
import pytest
from sqlalchemy import Engine

from app.core.config import Settings
from tests.ledger_view import View
from tests.processes import Part, Parts, parts, until

pytestmark = pytest.mark.slow

MEMORY = 400 << 20

# Processes that cut themselves loose, each in another way, and write their pids down.
ESCAPE = """
import os, subprocess, sys, time
def forked(prepare):
    if os.fork() == 0:
        prepare()
        if os.fork() == 0:
            with open({pids!r}, "a") as file:
                file.write(f"{{os.getpid()}}\\n")
            time.sleep(600)
        os._exit(0)
forked(lambda: None)
forked(os.setsid)
forked(os.setpgrp)
shell = "echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait"
subprocess.Popen(["sh", "-c", shell])
subprocess.Popen(["sh", "-c", shell], start_new_session=True)
while len(open({pids!r}).read().split()) < {count}:
    time.sleep(0.01)
"""
ESCAPED = 7


@pytest.fixture
def view(engine: Engine, make_owner: Callable[..., UUID]) -> View:
    return View(engine, make_owner())


@pytest.fixture
def running(settings: Settings, view: View, tmp_path: Path) -> Iterator[Parts]:
    with parts(settings, tmp_path) as running:
        running.controller()
        yield running


@pytest.fixture
def worker(running: Parts) -> Part:
    return running.worker(
        HEAVYLIFT_WORKER_CANCEL_GRACE="0.5",
        HEAVYLIFT_WORKER_DRAIN="2",
        HEAVYLIFT_WORKER_MEMORY_PER_SLOT=str(MEMORY),
        HEAVYLIFT_LOG_FORMAT="text",
    ).ready()


def submit(view: View, code: str, kind: str = "test.program") -> UUID:
    return view.submit(kind, code=dedent(code), max_tries=1)


def found(view: View, code: str) -> object:
    """What a program found, as its `repr` says it."""
    job = submit(view, code)
    until(lambda: view.state(job) in ("succeeded", "failed"), seconds=120, what="it ends")
    assert view.state(job) == "succeeded", view.job(job)
    result = view.job(job)["result"]
    assert isinstance(result, dict)
    return result["found"]


def pids(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def gone(file: Path) -> bool:
    """Of processes that were reaped as well, nothing is left."""
    return not any(psutil.pid_exists(pid) for pid in pids(file))


@pytest.mark.parametrize(
    ("end", "kind", "state"),
    [
        pytest.param("found = 1", "test.program", "succeeded", id="returns"),
        pytest.param("raise ValueError", "test.program", "failed", id="raises"),
        pytest.param("time.sleep(60)", "test.brief_program", "failed", id="killed"),
        pytest.param("os._exit(3)", "test.program", None, id="exits"),
        pytest.param("os.kill(os.getpid(), 9)", "test.program", None, id="dies"),
        pytest.param("time.sleep(60)", "test.program", "queued", id="drained"),
    ],
)
def test_what_a_job_has_started_ends_with_its_attempt(
    worker: Part, view: View, tmp_path: Path, end: str, kind: str, state: str | None
) -> None:
    escaped = tmp_path / "pids"
    code = ESCAPE.format(pids=str(escaped), count=ESCAPED) + end
    job = submit(view, code, kind)
    try:
        until(lambda: len(pids(escaped)) == ESCAPED, seconds=60, what="all have started")
        if state == "queued":
            worker.terminate()
        until(lambda: gone(escaped), seconds=30, what="all of them are gone")
        if state == "queued":
            assert worker.process.wait(30) == 0
        if state is not None:
            until(lambda: view.state(job) == state, seconds=30, what=state)
    finally:
        for pid in pids(escaped):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


POOLS = """
import concurrent.futures, multiprocessing
from multiprocessing import shared_memory
from heavylift_test_kinds import square
found = []
for method in ("fork", "spawn", "forkserver"):
    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        found.append(sum(pool.map(square, range(10))))
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        found.append(sum(executor.map(square, range(10))))
job.progress(0.5, "still connected")
left = shared_memory.SharedMemory(create=True, size=4096)
found.append(left.name)
"""


def test_processes_of_the_standard_library_work_and_leave_nothing(worker: Part, view: View) -> None:
    *answers, left = eval(str(found(view, POOLS)))
    assert answers == [285] * 6
    until(lambda: not Path("/dev/shm", left).exists(), seconds=20, what="it was freed")
    until(lambda: len(worker.children()) == 1, seconds=20, what="the child is alone")
    # The worker waits for nothing of it, and takes the next job.
    assert found(view, "found = 1") == "1"


HOARD = """
import subprocess, sys, time
hoard = "import time; hoard = b'x' * {each}; time.sleep(60)"
for _ in range({count}):
    subprocess.Popen([sys.executable, "-c", hoard], start_new_session=True)
time.sleep(60)
"""

SHARE = """
import os, time
shared = b"x" * {each}
pids = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        time.sleep(1.5)
        os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
found = len(shared)
"""


def test_the_memory_of_what_a_job_has_started_counts_and_shared_pages_count_once(
    worker: Part, view: View
) -> None:
    each = 100 << 20
    assert found(view, SHARE.format(each=each)) == str(each)
    job = submit(view, HOARD.format(each=each, count=6))
    until(lambda: view.state(job) == "failed", seconds=50, what="it takes too much")
    assert view.job(job)["error_code"] == "out-of-memory"


FORKS = """
import os, sys, time
mine = os.getpid()
def parent_waits():
    if os.getpid() == mine:
        return os.waitstatus_to_exitcode(os.waitpid(-1, 0)[1])
job.progress(0.1, "connected")
time.sleep(0.7)
ends = []
pid = os.fork()
if pid == 0:
    import gc
    try:
        job.progress(0.2, "from the fork")
    except RuntimeError:
        gc.collect()
        sys.exit(7)  # through the interpreter's own ways
ends.append(parent_waits())
if os.fork() == 0:
    raise ValueError("in the fork")
ends.append(parent_waits())
job.progress(0.5, "still connected")
time.sleep(0.7)
path = job.scratch / "output"
path.write_text("x")
job.output(path, name="x", content_type="text/plain")
found = ends
if os.fork() == 0:
    found = "what the fork returns"
else:
    ends.append(parent_waits())
"""


def test_a_fork_writes_nothing_and_leaves_the_ledgers_connection_alone(
    worker: Part, view: View
) -> None:
    job = submit(view, FORKS)
    until(lambda: view.state(job) in ("succeeded", "failed"), seconds=120, what="it ends")
    ended = view.job(job)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    assert ended["result"] == {"found": "[7, 1, 0]", "pid": ended["result"]["pid"]}  # type: ignore[index]
    assert view.count("files WHERE state = 'ready'") == 1
    for wrong in ("ledger is away", "refused", "lost synchronization", "not written"):
        assert wrong not in worker.output


CHANGES = """
import faulthandler, os, resource, signal, sys, threading, time
found = os.getpid()
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGPIPE, signal.SIGHUP):
    signal.signal(number, lambda *_: None)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
os.kill(os.getpid(), signal.SIGUSR2)
signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.3)
faulthandler.dump_traceback_later(0.5, exit=True)
os.chdir(job.scratch)
os.umask(0o777)
os.environ["AWS_SECRET_ACCESS_KEY"] = "the owner's"
del os.environ["PATH"]
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for number in range(3):
    os.close(number)
sys.stdout = None
"""

SHOWS = """
import os, resource, signal, subprocess, sys, threading, time
until = time.process_time() + 0.5
while time.process_time() < until:
    pass
time.sleep(0.5)
names = ("SIGTERM", "SIGINT", "SIGALRM", "SIGPIPE", "SIGHUP", "SIGCHLD", "SIGVTALRM")
print("printed")
mask = os.umask(0)
os.umask(mask)
found = (
    [str(signal.getsignal(getattr(signal, name))) for name in names],
    signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    os.getcwd(), mask, sorted(os.environ.items()),
    [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)],
    [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
    subprocess.run(["sh", "-c", "exit 5"]).returncode,
    [thread.name for thread in threading.enumerate() if not thread.daemon],
)
"""


def test_the_next_job_meets_the_process_as_it_was(worker: Part, view: View) -> None:
    before = found(view, SHOWS)
    first = found(view, CHANGES)
    after = found(view, SHOWS)
    assert after == before
    assert worker.output.count("printed") == 2
    # It was put back, not replaced.
    assert found(view, "import os; found = os.getpid()") == first
    assert "replaced" not in worker.output
    # What can't be put back is replaced.
    threaded = """
        import os, sys, threading
        threading.Thread(target=threading.Event().wait, name="endless").start()
        sys.stdout.close()
        found = os.getpid()
    """
    assert found(view, threaded) == first
    until(lambda: "threads ran on" in worker.output, seconds=10, what="it is seen")
    assert found(view, SHOWS) == before
    assert found(view, "import os; found = os.getpid()") != first
