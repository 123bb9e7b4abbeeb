"""Whether a run met its objectives: what was seen beside what was to be."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests._slo import Slo


@dataclass(frozen=True, slots=True)
class Seen:
    """Milliseconds; a p95 of nothing is nothing."""

    requests: int = 0
    failures: int = 0
    p95_ms: float = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Of each scenario that was to run; jobs are None where none of those makes any."""

    scenarios: Mapping[str, Seen]
    jobs: Seen | None = None
    waits: Seen | None = None
    errors: Sequence[str] = field(default=())
    """Of the load test itself: what it saw is less than what it was to see."""


@dataclass(frozen=True, slots=True)
class Line:
    what: str
    target: str
    seen: str
    met: bool


def judge(slo: Slo, run: Run) -> list[Line]:
    lines: list[Line] = []
    for name, seen in run.scenarios.items():
        objectives = slo.scenarios[name]
        if not seen.requests:
            lines.append(Line(f"{name} requests", "some", "none", met=False))
            continue
        lines.append(_within(f"{name} p95", objectives.p95_ms, seen.p95_ms))
        rate = seen.failures / seen.requests
        lines.append(
            Line(
                f"{name} errors",
                f"<= {_percent(objectives.error_rate)}",
                f"{_percent(rate)} ({seen.failures} of {seen.requests})",
                met=rate <= objectives.error_rate,
            )
        )
    for what, target, measured in (
        ("submit to finished p95", slo.jobs.finished_p95_ms, run.jobs),
        ("queue wait p95", slo.jobs.queue_wait_p95_ms, run.waits),
    ):
        if measured is not None and not measured.requests:
            lines.append(Line(what, "some jobs", "none", met=False))
        elif measured is not None:
            lines.append(_within(what, target, measured.p95_ms))
    lines += [Line("the load test itself", "no error", error, met=False) for error in run.errors]
    if not lines:
        lines.append(Line("scenarios", "some", "none", met=False))
    return lines


def _within(what: str, target: float, seen: float) -> Line:
    return Line(what, f"<= {target:,.0f} ms", f"{seen:,.0f} ms", met=seen <= target)


def _percent(rate: float) -> str:
    return f"{rate:.2%}"


def table(lines: Iterable[Line]) -> str:
    rows = [("objective", "target", "seen", "")]
    rows += [(line.what, line.target, line.seen, "ok" if line.met else "MISSED") for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(
            (*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])
        ).rstrip()
        for row in rows
    )
