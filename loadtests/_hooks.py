"""Where the scenarios meet Locust: settings first, seeds next, the verdict at the end."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import gevent
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerNode, WorkerRunner
from locust.stats import RequestStats, StatsCSVFileWriter, StatsEntry

from loadtests import _progress
from loadtests._exporter import record
from loadtests._mix import MIX
from loadtests._seeding import seed
from loadtests._settings import BadSetup, load_settings
from loadtests._slo import load_slo
from loadtests._verdict import Line, Run, Seen, judge, table

# Locust's own for errors at its start.
BAD_SETUP = 2

REQUESTS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"})


def listen() -> None:
    events.init.add_listener(_prepare)
    events.test_start.add_listener(_seed)
    events.test_start.add_listener(_show_progress)
    events.test_stop.add_listener(_say_in_ui)
    events.quitting.add_listener(_judge)
    events.quit.add_listener(_say)
    StatsCSVFileWriter.close_files = _flush  # type: ignore[assignment, method-assign]


def _flush(writer: StatsCSVFileWriter) -> None:
    """Close nothing: what writes each second may have its turn again while the process exits."""
    writer.requests_flush()
    writer.stats_history_flush()
    writer.failures_flush()
    writer.exceptions_flush()


class _Verdict:
    """Of the process's last run; a Locust process has one environment."""

    lines: list[Line] | None = None
    without_users: Sequence[str] = ()
    started = False


class _Shown:
    progress: gevent.Greenlet | None = None


class _Seeds:
    host: str | None = None
    """Where they were made."""


def _refuse(error: BadSetup) -> None:
    sys.stderr.write(f"load test: {error}\n")


def _prepare(environment: Environment, **_: Any) -> None:
    from loadtests._scenario import Scenario

    try:
        settings = load_settings()
        slo = load_slo(settings.slo)
        chosen = [one for one in environment.user_classes if _has_tasks(one, environment)]
        if settings.admin_email is None:
            ours = [one for one in chosen if issubclass(one, Scenario) and one.for_admins]
            for one in ours:
                chosen.remove(one)
                sys.stderr.write(
                    f"load test: {one.__name__} does not run: LOADTEST_ADMIN_EMAIL is not set\n"
                )
        if not chosen:
            raise BadSetup("no scenario is left to run")
        environment.user_classes[:] = chosen
        Scenario.recorder = record(environment, settings, slo)
    except BadSetup as error:
        _refuse(error)
        sys.exit(BAD_SETUP)
    # What is under way at the end is waited for: killed, it would count as a failure.
    environment.stop_timeout = max(environment.stop_timeout, settings.timeout)
    headless = getattr(environment.parsed_options, "headless", False)
    # Before the run time begins. In the UI, and to a master's workers, the host is known later.
    at_once = headless and isinstance(environment.runner, LocalRunner)
    if at_once and not _seed_at(environment):
        sys.exit(BAD_SETUP)


def _has_tasks(user_class: Any, environment: Environment) -> bool:
    """Whether --tags and --exclude-tags leave it any; Locust would start its users, to fail."""
    options = environment.parsed_options
    wanted = set(getattr(options, "tags", None) or ())
    unwanted = set(getattr(options, "exclude_tags", None) or ())
    for task in user_class.tasks:
        tags: set[str] = getattr(task, "locust_tag_set", set())
        if (not wanted or tags & wanted) and not tags & unwanted:
            return True
    return False


def _seed(environment: Environment, **_: Any) -> None:
    _Verdict.started = True
    _Verdict.lines = None
    # Of a run before, in the UI.
    environment.process_exit_code = None
    runner = environment.runner
    if isinstance(runner, MasterRunner) or _Seeds.host == environment.host:
        return
    if not _seed_at(environment) and isinstance(runner, LocalRunner):
        # Not here: it is on its way to start its users.
        gevent.spawn(runner.stop)


def _seed_at(environment: Environment) -> bool:
    """Whether it could be done."""
    from loadtests._scenario import Scenario

    runner = environment.runner
    host = environment.host = (environment.host or "").rstrip("/")
    worker = runner.worker_index if isinstance(runner, LocalRunner | WorkerRunner) else 0
    try:
        if not host.startswith(("http://", "https://")):
            raise BadSetup("--host: write it as http://localhost:8000")
        Scenario.share_out(seed(host, load_settings(), worker))
    except BadSetup as error:
        _refuse(error)
        Scenario.share_out([])
        _Seeds.host = None
        environment.process_exit_code = BAD_SETUP
        return False
    _Seeds.host = host
    return True


def _show_progress(environment: Environment, **_: Any) -> None:
    options, runner = environment.parsed_options, environment.runner
    if options is None or runner is None or isinstance(runner, WorkerRunner):
        return
    if not (options.headless and options.only_summary):
        return

    def look() -> tuple[int, Seen]:
        stats = environment.stats
        requests = [entry for key, entry in list(stats.entries.items()) if _kind(key) in REQUESTS]
        return runner.user_count, _sum(stats, requests)

    _Shown.progress = _progress.show(options.run_time, look)


def _judge(environment: Environment, **_: Any) -> None:
    if _Shown.progress is not None:
        _Shown.progress.kill(block=False)
    if isinstance(environment.runner, WorkerRunner) or not _Verdict.started:
        return
    seen = _seen(environment)
    _Verdict.without_users = [
        name
        for name in MIX
        if name not in seen.scenarios
        and any(one.__name__ == name for one in environment.user_classes)
    ]
    _Verdict.lines = judge(load_slo(load_settings().slo), seen)
    if environment.process_exit_code is None:
        environment.process_exit_code = 0 if all(line.met for line in _Verdict.lines) else 1


def _say(**_: Any) -> None:
    """Last of all, below Locust's own tables."""
    if _Verdict.lines is not None:
        met = all(line.met for line in _Verdict.lines)
        print(f"\n{table(_Verdict.lines)}\n", flush=True)
        if _Verdict.without_users:
            print(f"not run, too few users: {', '.join(_Verdict.without_users)}\n")
        print("PASSED" if met else "FAILED", flush=True)


def _say_in_ui(environment: Environment, **_: Any) -> None:
    if environment.web_ui is not None:
        lines = judge(load_slo(load_settings().slo), _seen(environment))
        print(f"\n{table(lines)}", flush=True)


def _seen(environment: Environment) -> Run:
    stats, runner = environment.stats, environment.runner
    entries = [
        (_kind(key), key[0].partition(" ")[0], entry) for key, entry in list(stats.entries.items())
    ]
    running = _with_users(environment) | {scenario for _, scenario, _ in entries}
    names = [name for name in MIX if name in running]
    with_jobs = any(
        getattr(one, "makes_jobs", False)
        for one in environment.user_classes
        if one.__name__ in running
    )
    exceptions = runner.exceptions.values() if runner is not None else ()
    return Run(
        scenarios={name: _of_scenario(stats, name, entries) for name in names},
        jobs=_sum(stats, [entry for kind, _, entry in entries if kind == "JOB"])
        if with_jobs
        else None,
        waits=_sum(stats, [entry for kind, _, entry in entries if kind == "QUEUE"])
        if with_jobs
        else None,
        errors=[f"{row['count']} x {row['msg']}" for row in exceptions],
    )


def _kind(key: tuple[str, str]) -> str:
    return key[1]


def _with_users(environment: Environment) -> set[str]:
    """The scenarios that were to get users, whether or not those did anything.

    Locust's own dispatcher decides by the number of users: with few, weights leave some out.
    """
    runner = environment.runner
    wanted = runner.target_user_count if runner is not None else 0
    if not wanted:
        return {one.__name__ for one in environment.user_classes}
    dispatcher = environment.dispatcher_class([WorkerNode("judge")], environment.user_classes)
    # All users in one step: the dispatcher would wait between several.
    dispatcher.new_dispatch(wanted, spawn_rate=wanted)
    return {name for users in next(dispatcher).values() for name, count in users.items() if count}


def _of_scenario(
    stats: RequestStats, name: str, entries: list[tuple[str, str, StatsEntry]]
) -> Seen:
    """The p95 is of requests alone: how long jobs may take is said elsewhere."""
    own = [(kind, entry) for kind, scenario, entry in entries if scenario == name]
    requests = _sum(stats, [entry for kind, entry in own if kind in REQUESTS])
    jobs = _sum(stats, [entry for kind, entry in own if kind == "JOB"])
    if not requests.requests:
        return requests
    return Seen(
        requests.requests + jobs.requests, requests.failures + jobs.failures, requests.p95_ms
    )


def _sum(stats: RequestStats, entries: Iterable[StatsEntry]) -> Seen:
    total = StatsEntry(stats, "", "")
    for entry in entries:
        total.extend(entry)
    if not total.num_requests:
        return Seen()
    return Seen(total.num_requests, total.num_failures, total.get_response_time_percentile(0.95))


__all__ = ["listen"]
