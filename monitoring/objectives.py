"""The objectives, each over 30 days, and how their events are counted.

Alerts on them follow chapter 5 of Google's SRE Workbook ("Alerting on SLOs"), multi-window and
multi-burn-rate: a page if 2% of the budget burns in an hour or 5% in six, a ticket if 10% burns in
three days. They also need a number of *errors* in the long window. A number of events would do for
three jobs at night as well, but would keep silent about a small service that fails completely.
"""

from monitoring.model import Objective, Window

FAST = Window("page", "1h", "5m", 14.4, "2m")
MEDIUM = Window("page", "6h", "30m", 6, "15m")
SLOW = Window("ticket", "1d", "2h", 3, "1h")
SLOWEST = Window("ticket", "3d", "6h", 1, "1h")

PAGES_TOO = (FAST, MEDIUM, SLOW, SLOWEST)

# Users of low urgency feel hours, not minutes. With an objective of 90% the budget can burn no more
# than 10 times too fast, so that FAST would never fire.
TICKETS_ONLY = (SLOW, SLOWEST)

# The name of these metrics is OpenTelemetry's, and other programs in the cluster may have it, too.
_OURS = 'and on (namespace, release) last_over_time(heavylift_build_info{component="api"}[5m])'

# Their duration depends on the client: event streams, uploads (with the list of files, which shares
# their route) and downloads.
UNTIMED = (
    "/api/v1/jobs/{job_id}/events",
    "/api/v1/files",
    "/api/v1/files/{file_id}/content",
)
_ROUTES = "|".join(route.replace("{", "[{]").replace("}", "[}]") for route in UNTIMED)

# A fast 5xx is no good answer; availability counts it.
_TIMED = f'http_response_status_code!~"5..", http_route!~"{_ROUTES}"'

# Seconds: a bound in `app.core.metrics.REQUEST_BUCKETS`, and the p95 of loadtests/slo.yaml.
LATENCY = "1.5"


def _braces(selector: str) -> str:
    return f"{{{selector}}}" if selector else ""


def _requests(selector: str = "", metric: str = "count") -> str:
    series = f"http_server_request_duration_seconds_{metric}"
    return f"sum by (namespace, release) (rate({series}{_braces(selector)}[5m]))"


def _waits(urgency: str, selector: str = "") -> str:
    """Attempts that started, in the pools of one urgency."""
    series = f"heavylift_job_waits_total{_braces(selector)}"
    return f"""\
sum by (namespace, release) (
  max by (namespace, release, kind, pool, within_target) (rate({series}[5m]))
  * on (namespace, release, pool) group_left ()
  heavylift:pool_urgency:info{{urgency="{urgency}"}}
)"""


def _wait_objective(urgency: str, windows: tuple[Window, ...]) -> Objective:
    return Objective(
        slo=f"job-wait-{urgency}",
        threshold=f"job_wait_{urgency}_objective",
        floor="job_min_errors",
        errors=_waits(urgency, 'within_target="false"'),
        events=_waits(urgency),
        says="of the attempts started later than their kind's target",
        windows=windows,
    )


API_AVAILABILITY = Objective(
    slo="api-availability",
    threshold="api_availability_objective",
    floor="api_min_errors",
    # There is no series of 5xx before the first of them.
    errors=f"""\
(
  {_requests('http_response_status_code=~"5.."')}
  or
  0 * {_requests()}
)
{_OURS}""",
    events=f"{_requests()}\n{_OURS}",
    says="of the requests were answered with a 5xx",
    windows=PAGES_TOO,
)

API_LATENCY = Objective(
    slo="api-latency",
    threshold="api_latency_objective",
    floor="api_min_errors",
    errors=f"""\
clamp_min(
  {_requests(_TIMED)}
  - {_requests(f'{_TIMED}, le="{LATENCY}"', "bucket")},
  0
)
{_OURS}""",
    events=f"{_requests(_TIMED)}\n{_OURS}",
    says=f"of the requests took longer than {LATENCY} s",
    windows=PAGES_TOO,
)

JOB_WAIT_HIGH = _wait_objective("high", PAGES_TOO)
JOB_WAIT_NORMAL = _wait_objective("normal", PAGES_TOO)
JOB_WAIT_LOW = _wait_objective("low", TICKETS_ONLY)

JOB_SUCCESS = Objective(
    slo="job-success",
    threshold="job_success_objective",
    floor="job_min_errors",
    errors="""\
sum by (namespace, release) (
  max by (namespace, release, kind, pool) (rate(heavylift_dead_letters_total[5m]))
)""",
    events="""\
sum by (namespace, release) (
  max by (namespace, release, kind, pool, outcome) (rate(heavylift_jobs_finished_total[5m]))
)""",
    says="of the finished jobs became dead letters",
    windows=PAGES_TOO,
)

OBJECTIVES = (
    API_AVAILABILITY,
    API_LATENCY,
    JOB_WAIT_HIGH,
    JOB_WAIT_NORMAL,
    JOB_WAIT_LOW,
    JOB_SUCCESS,
)
