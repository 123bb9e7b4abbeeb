"""What a run is held against, and what is said of a file or a setting that is wrong."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from loadtests._mix import MIX
from loadtests._settings import BadSetup, LoadSettings, load_settings
from loadtests._slo import Slo, load_slo
from loadtests._verdict import Run, Seen, judge, table

SHIPPED = LoadSettings().slo

GOOD = Seen(requests=200, failures=0, p95_ms=90)
RUN = Run(
    scenarios=dict.fromkeys(MIX, GOOD),
    jobs=Seen(requests=20, p95_ms=900),
    waits=Seen(requests=20, p95_ms=80),
)


@pytest.fixture
def slo() -> Slo:
    return load_slo(SHIPPED)


def missed(slo: Slo, run: Run) -> list[tuple[str, str]]:
    return [(line.what, line.seen) for line in judge(slo, run) if not line.met]


def test_a_good_run_meets_all_of_them(slo: Slo) -> None:
    assert missed(slo, RUN) == []
    assert len(judge(slo, RUN)) == 2 * len(MIX) + 2


@pytest.mark.parametrize(
    ("seen", "what", "said"),
    [
        (replace(GOOD, p95_ms=1501), "LogIn p95", "1,501 ms"),
        (replace(GOOD, failures=3), "LogIn errors", "1.50% (3 of 200)"),
        (Seen(), "LogIn requests", "none"),
    ],
)
def test_one_scenario_that_misses_its_own(slo: Slo, seen: Seen, what: str, said: str) -> None:
    run = replace(RUN, scenarios={**RUN.scenarios, "LogIn": seen})
    assert missed(slo, run) == [(what, said)]


def test_what_is_just_met_is_met(slo: Slo) -> None:
    seen = replace(GOOD, p95_ms=1500, failures=2)
    assert missed(slo, replace(RUN, scenarios={**RUN.scenarios, "LogIn": seen})) == []


def test_jobs_that_take_too_long_or_are_none(slo: Slo) -> None:
    slow = replace(RUN, jobs=Seen(5, 0, 10_100), waits=Seen(5, 0, 5_100))
    assert [what for what, _ in missed(slo, slow)] == ["submit to finished p95", "queue wait p95"]
    none = replace(RUN, jobs=Seen(), waits=Seen())
    assert [said for _, said in missed(slo, none)] == ["none", "none"]
    assert missed(slo, replace(RUN, jobs=None, waits=None)) == []


def test_a_load_test_that_broke_has_not_passed(slo: Slo) -> None:
    run = replace(RUN, errors=["2 x KeyError('id')"])
    assert missed(slo, run) == [("the load test itself", "2 x KeyError('id')")]
    assert missed(slo, Run(scenarios={})) == [("scenarios", "none")]


def test_the_table_says_target_and_seen(slo: Slo) -> None:
    run = replace(RUN, scenarios={"LogIn": replace(GOOD, p95_ms=2000)}, jobs=None, waits=None)
    assert table(judge(slo, run)).splitlines() == [
        "objective     target       seen",
        "LogIn p95     <= 1,500 ms  2,000 ms          MISSED",
        "LogIn errors  <= 1.00%     0.00% (0 of 200)  ok",
    ]


# --- what is refused ------------------------------------------------------------------------------


def changed(**scenarios: object) -> str:
    content = yaml.safe_load(SHIPPED.read_text())
    content["scenarios"].update(scenarios)
    return yaml.safe_dump(content)


OBJECTIVES = {"p95_ms": 100, "error_rate": 0}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed(LogOut=OBJECTIVES), "scenarios.LogOut: there is no such scenario"),
        (changed(LogIn={"p95_ms": 100}), "scenarios.LogIn.error_rate: Field required"),
        (changed(LogIn={**OBJECTIVES, "p99_ms": 1}), "scenarios.LogIn.p99_ms: Extra inputs"),
        (changed(LogIn={**OBJECTIVES, "p95_ms": "fast"}), "scenarios.LogIn.p95_ms: Input should"),
        (changed(LogIn={**OBJECTIVES, "error_rate": 1}), "scenarios.LogIn.error_rate: Input"),
        ("scenarios: {}\njobs: {finished_p95_ms: 1, queue_wait_p95_ms: 1}", "nothing for Browse"),
        ("scenarios:\n  LogIn: [\n", "line 3: "),
        ("- 1\n", "Input should be a valid dictionary"),
        ("a: \x00", "not YAML"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_field(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(content)
    with pytest.raises(BadSetup) as refused:
        load_slo(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match=r"none\.yaml: No such file"):
        load_slo(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("LOADTEST_ITEMS", "5", "LOADTEST_ITEMS: Input should be greater than 20"),
        ("LOADTEST_RATE", "often", "LOADTEST_RATE: Input should be a valid number"),
        ("LOADTEST_ACOUNTS", "5", "LOADTEST_ACOUNTS is no setting"),
        ("LOADTEST_ADMIN_EMAIL", "a@example.com", "LOADTEST_ADMIN_EMAIL and LOADTEST_ADMIN_PASS"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    load_settings.cache_clear()
    try:
        with pytest.raises(BadSetup) as refused:
            load_settings()
    finally:
        load_settings.cache_clear()
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
