"""The signals of a whole run: with a real Prometheus, a receiver of OTLP, and a browser."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded import monitoring_files
from app.embedded.monitoring_files import dashboards
from monitoring.pictures.browser import WIDTH
from monitoring.pictures.bundle import npm
from tests.observe.pictures import Drawn, missing
from tests.observe.queries import alert_queries, metric_names, panel_queries, recording_queries
from tests.observe.scenario import Evidence, run
from tests.otlp import Span
from tests.servers import scratch_folder

DOCUMENT = Path(__file__).parents[2] / "docs" / "signals.md"

# | `name` | type | `label`, … | process | what it says |
ROW = re.compile(r"^\| `([a-z_]+)` \| (\w+) \|([^|]*)\| ([^|]*) \| [^|]+ \|$", re.MULTILINE)

PARTS = {"API": "api", "controller": "controller", "worker": "worker"}

# What Prometheus itself adds, and what its client says of the interpreter and the process.
# The load test's have a table of their own.
OTHERS = re.compile(r"up|scrape_.*|python_.*|process_.*|.*_created|heavylift_loadtest_.*")

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

# What is said of one attempt and of nothing else.
OF_ATTEMPTS = frozenset(
    {"attempt ended", "attempt failed", "child died", "child killed", "job raised", "worker lost"}
)

pytestmark = pytest.mark.observe


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    with scratch_folder() as folder:
        return run(folder / "stack", drawing=not missing())


def traces(evidence: Evidence) -> dict[str, list[Span]]:
    found = defaultdict(list)
    for span in evidence.spans:
        found[span.trace_id].append(span)
    return found


def attempts(spans: list[Span], name: str) -> list[int]:
    return sorted(
        int(span.attributes["heavylift.job.attempt"])
        for span in spans
        if span.name.startswith(name)
    )


def test_each_job_is_one_connected_trace(evidence: Evidence) -> None:
    found = traces(evidence)
    for job in evidence.jobs:
        trace = found[job["traceparent"].split("-")[1]]
        ids = {span.span_id for span in trace}
        roots = [span for span in trace if span.parent_id not in ids]
        assert [span.name for span in roots] == [f"POST /api/v1/jobs/{job['kind']}"], job
        assert all(
            span.attributes["heavylift.job.id"] == str(job["id"])
            for span in trace
            if "heavylift.job.id" in span.attributes
        )


def test_each_attempt_has_a_span_of_its_run_or_of_its_loss(evidence: Evidence) -> None:
    found = traces(evidence)
    lost = 0
    for job in evidence.jobs:
        trace = found[job["traceparent"].split("-")[1]]
        ran, missing = attempts(trace, "run "), attempts(trace, "job.lost")
        assert sorted(ran + missing) == list(range(1, job["attempt"] + 1)), (job, ran, missing)
        assert len(attempts(trace, "dispatch ")) >= job["attempt"], job
        lost += len(missing)
    assert lost >= len(evidence.killed) > 0


def test_the_request_and_the_run_show_their_statements(evidence: Evidence) -> None:
    names = {span.span_id: span.name for span in evidence.spans}
    within = {
        names[span.parent_id].split()[0]
        for span in evidence.spans
        if "db.system.name" in span.attributes and span.parent_id in names
    }
    assert within >= {"POST", "run"}


def test_what_failed_was_tried_again_and_says_so(evidence: Evidence) -> None:
    found = traces(evidence)
    failing = [job for job in evidence.jobs if job["kind"] == "test.fail"]
    assert failing
    for job in failing:
        trace = found[job["traceparent"].split("-")[1]]
        runs = [span for span in trace if span.name.startswith("run ")]
        assert len(runs) > 1
        assert {span.status for span in runs} == {"ERROR"}
        assert job["outcome"] == "failed"


def documented() -> dict[str, tuple[str, set[str], set[str]]]:
    """Type, labels and processes of each metric in the table."""
    rows = {}
    for name, kind, labels, process in ROW.findall(DOCUMENT.read_text()):
        processes = (
            set(PARTS.values())
            if process == "all"
            else {PARTS[one.strip()] for one in process.split(",")}
        )
        rows[name] = kind, set(re.findall(r"`([a-z_]+)`", labels)), processes
    return rows


def test_every_metric_of_the_table_is_scraped_and_none_is_missing_from_it(
    evidence: Evidence,
) -> None:
    table = documented()
    # Only the second controller has a connection over TLS here.
    table["heavylift_certificate_expiry_timestamp_seconds"][2].remove("api")
    assert len(table) > 20
    expected = {
        name + suffix: (labels, processes)
        for name, (kind, labels, processes) in table.items()
        for suffix in SUFFIXES[kind]
    }
    seen = {
        name: (found["labels"], found["jobs"])
        for name, found in evidence.series.items()
        if not OTHERS.fullmatch(name)
    }
    assert seen == expected
    for name, (kind, _, _) in table.items():
        assert evidence.types.get(name, evidence.types.get(name.removesuffix("_total"))) == kind


def lines(evidence: Evidence) -> Iterator[tuple[str, dict[str, Any]]]:
    for part, written in evidence.lines.items():
        if part != "heavylift":  # the supervisor's, for a person
            yield from ((part, json.loads(line)) for line in written)


def test_every_line_of_an_attempt_says_whose_it_is_and_in_which_trace(evidence: Evidence) -> None:
    traces = {str(job["id"]): job["traceparent"].split("-")[1] for job in evidence.jobs}
    told = set()
    for part, line in lines(evidence):
        if "job_id" in line:
            assert line["trace_id"] == traces[line["job_id"]], (part, line)
            told.add((line["job_id"], line["attempt"]))
        else:
            assert line["event"] not in OF_ATTEMPTS, (part, line)
    # Of each attempt at least how it ended.
    assert told >= {
        (str(job["id"]), attempt)
        for job in evidence.jobs
        for attempt in range(1, job["attempt"] + 1)
    }


def test_every_line_of_a_request_says_whose_it_is_and_in_which_trace(evidence: Evidence) -> None:
    recorded = {span.trace_id for span in evidence.spans}
    requests = [
        line for _, line in lines(evidence) if "request_id" in line or line["event"] == "request"
    ]
    assert len(requests) > len(evidence.jobs)
    for line in requests:
        assert line["request_id"], line
        assert line["trace_id"] in recorded, line


def test_every_panel_and_every_recording_rule_has_a_sample(evidence: Evidence) -> None:
    assert len(evidence.samples) > 200
    empty = [query for query, count in evidence.samples.items() if not count]
    # No pool of the run is of low urgency; the rules for the others differ by that word alone.
    assert [str(query) for query in empty if 'urgency="low"' not in query.expression] == []
    assert len(empty) <= 2


def test_every_variable_has_values_to_choose_from(evidence: Evidence) -> None:
    assert len(evidence.offered) > 20
    assert [str(query) for query, values in evidence.offered.items() if not values] == []


def asked() -> set[str]:
    """Names that dashboards, rules and alerts select by, but for those that rules record."""
    text = monitoring_files.rules()
    queries = [*recording_queries(text), *alert_queries(text)]
    queries += [query for page in dashboards() for query in panel_queries(page)]
    recorded = {query.where for query in recording_queries(text)}
    names = {name for query in queries for name in metric_names(query.expression)}
    # Prometheus' own.
    return names - recorded - {"ALERTS"}


def unknown(names: set[str], exported: set[str]) -> set[str]:
    return names - exported


def test_dashboards_and_alerts_ask_for_what_there_is(evidence: Evidence) -> None:
    assert unknown(asked(), set(evidence.series)) == set()


def test_a_metric_that_is_renamed_is_missed(evidence: Evidence) -> None:
    """Each in turn: some dashboard or alert asks for every metric."""
    names, exported = asked(), set(evidence.series)
    for name, (kind, _, _) in documented().items():
        series = {name + suffix for suffix in SUFFIXES[kind]}
        renamed = {f"{one}_renamed" for one in series}
        assert unknown(names, exported - series | renamed), name


@pytest.fixture
def drawn(evidence: Evidence) -> Drawn:
    if evidence.drawn is None:
        message = f"not on the PATH: {', '.join(missing())}"
        # Where tests must not be skipped, the programs have to be there.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return evidence.drawn


def size(png: Path) -> tuple[int, int]:
    """Width and height, from the first chunk of the file."""
    head = png.read_bytes()[:24]
    assert head[12:16] == b"IHDR"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def test_each_dashboard_has_a_picture_that_shows_all_data(drawn: Drawn) -> None:
    assert [picture.path.stem for picture in drawn.pictures] == [path.stem for path in dashboards()]
    for picture in drawn.pictures:
        assert picture.problems() == [], picture.path.stem
        assert len(picture.empty()) < len(picture.panels), picture.path.stem


def test_each_picture_has_the_whole_height_of_its_dashboard(drawn: Drawn) -> None:
    for picture in drawn.pictures:
        page = json.loads((dashboards()[0].parent / f"{picture.path.stem}.json").read_text())
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in page["panels"])
        width, height = size(picture.path)
        assert width == WIDTH
        assert height > rows * 38


def test_the_load_test_has_data_in_each_panel(drawn: Drawn) -> None:
    (picture,) = (one for one in drawn.pictures if one.path.stem == "load-test")
    assert picture.empty() == []


def test_a_query_that_fails_is_a_problem(drawn: Drawn) -> None:
    assert any("parse error" in problem for problem in drawn.broken)


def test_a_field_property_that_cannot_be_drawn_is_a_problem(drawn: Drawn) -> None:
    assert any("unheardOf" in problem for problem in drawn.unknown)


def test_the_page_has_no_wrong_types(drawn: Drawn) -> None:
    npm("run", "types")
