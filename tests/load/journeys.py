"""Requests of the load tests' own client against a server of a test, and what Locust was told.

A process of its own, `python -m tests.load.journeys URL [NOBODYS CASE...]`: Locust makes green
threads of all that Python has.
"""

import json
import sys
from typing import Any

from gevent.event import Event as Done
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.event import EventHook
from locust.runners import LocalRunner

from loadtests._answers import Kind
from loadtests._failures import Failure
from loadtests._scenario import Scenario, journey
from loadtests._seeding import Seeded
from loadtests._session import Account, Session

# Seconds from one start to the next, and how many journeys it takes.
PERIOD = 0.05
JOURNEYS = 60


class Punctual(Scenario):
    weight, period = 1, PERIOD
    count = 0
    done = Done()

    @journey("punctual")
    def ask(self) -> None:
        Punctual.count += 1
        if Punctual.count > JOURNEYS:
            self.done.set()
            return
        with self.api.ask("GET", "/stands-still-once"):
            pass


def record(entries: list[dict[str, Any]]) -> EventHook:
    hook = EventHook()
    hook.add_listener(lambda **entry: entries.append(entry))
    return hook


def open_session(url: str, hook: EventHook) -> Session:
    client = FastHttpSession(url, hook, None, network_timeout=0.5, connection_timeout=0.5)
    return Session(client, scenario="Probe")


def ask(url: str, nobodys: str, cases: list[str]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    hook = record(entries)
    somebody, nobody = open_session(url, hook), open_session(nobodys, hook)
    for case in cases:
        session = nobody if case == "nobody" else somebody
        try:
            with session.ask("GET", "/{case}", case=case, stream="stream" in case) as answer:
                if "stream" in case:
                    events = [(event.data, event.retry) for event in answer.events()]
                    answer.require(events == [("1", None), ("", 0.5), ("2", None)], "other events")
                else:
                    answer.require(answer.read(Kind).name == "x", "another name")
        except Failure:
            continue
    return entries


def keep_a_schedule(url: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    environment = Environment(user_classes=[Punctual], host=url, stop_timeout=5)
    environment.events.request.add_listener(lambda **entry: entries.append(entry))
    Scenario.share_out([Seeded(Account("a@example.com", "password"), None)])  # type: ignore[arg-type]
    runner: LocalRunner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    Punctual.done.wait()
    runner.quit()
    return entries


def told(entry: dict[str, Any]) -> tuple[str, str, float]:
    return entry["name"], repr(entry["exception"]), entry["response_time"]


if __name__ == "__main__":
    _, url, *others = sys.argv
    entries = ask(url, others[0], others[1:]) if others else keep_a_schedule(url)
    json.dump([told(entry) for entry in entries], sys.stdout)
