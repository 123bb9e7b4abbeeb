"""Builds the PromQL of the dashboards.

Every selector names the namespace and the release. All controllers read the same ledger and export
the same values, so their maximum is taken before anything else: a sum would count each job once for
each controller.
"""

from collections.abc import Mapping

RELEASE = 'namespace="$namespace", release="$release"'

_KIND = ("kind", "pool")
_OUTCOME = ("kind", "outcome", "pool")

# Labels of all series that are read from the ledger, without those that a scrape adds.
LEDGER: Mapping[str, tuple[str, ...]] = {
    "heavylift_database_connections": (),
    "heavylift_database_connections_max": (),
    "heavylift_database_oldest_transaction_seconds": (),
    "heavylift_dead_letters_expiry_seconds": _KIND,
    "heavylift_dead_letters_oldest_age_seconds": _KIND,
    "heavylift_dead_letters_open": _KIND,
    "heavylift_dead_letters_total": _KIND,
    "heavylift_job_attempts_total": _OUTCOME,
    "heavylift_job_dispatches_total": _KIND,
    "heavylift_job_queue_duration_seconds": _KIND,
    "heavylift_job_redispatches_total": _KIND,
    "heavylift_job_rescues_total": _KIND,
    "heavylift_job_run_duration_seconds": _OUTCOME,
    "heavylift_job_timeout_seconds": _KIND,
    "heavylift_job_turnaround_seconds": _OUTCOME,
    "heavylift_job_wait_target_seconds": _KIND,
    "heavylift_job_waits_total": ("kind", "pool", "within_target"),
    "heavylift_jobs": ("kind", "pool", "state"),
    "heavylift_jobs_finished_total": _OUTCOME,
    "heavylift_jobs_submitted_total": _KIND,
    "heavylift_jobs_unrunnable": ("kind", "pool", "reason"),
    "heavylift_ledger_dead_rows": ("table",),
    "heavylift_ledger_index_bytes": ("index", "table"),
    "heavylift_ledger_table_bytes": ("table",),
    "heavylift_pool_build_workers": ("build", "pool", "version"),
    "heavylift_pool_demand_slots": ("pool",),
    "heavylift_pool_largest_share_ratio": ("pool",),
    "heavylift_pool_longest_owner_wait_seconds": ("pool",),
    "heavylift_pool_oldest_cancel_age_seconds": ("pool",),
    "heavylift_pool_oldest_eligible_age_seconds": ("pool",),
    "heavylift_pool_owners_waiting": ("pool",),
    "heavylift_pool_slots": ("pool",),
    "heavylift_pool_slots_busy": ("pool",),
    "heavylift_pool_wait_target_seconds": ("pool", "urgency"),
    "heavylift_pool_window_limit": ("pool",),
    "heavylift_pool_window_messages": ("pool",),
    "heavylift_pool_workers": ("pool",),
    "heavylift_pool_workers_max": ("pool",),
}

BUCKET = "_bucket"

CHOOSABLE = ("pool", "kind")


def select(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join([RELEASE, *filter(None, matchers)])}}}"


def rate(metric: str, *matchers: str, over: str = "$__rate_interval") -> str:
    return f"rate({select(metric, *matchers)}[{over}])"


def total(expression: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def _of_ledger(
    metric: str, matchers: tuple[str, ...], variables: tuple[str, ...]
) -> tuple[str, str]:
    """The selector, with matchers for `variables`, and the labels to aggregate by."""
    labels = LEDGER[metric.removesuffix(BUCKET)]
    chosen = [f'{name}=~"${name}"' for name in variables if name in labels]
    kept = (*labels, "le") if metric.endswith(BUCKET) else labels
    return select(metric, *chosen, *matchers), ", ".join(kept)


def ledger(metric: str, *matchers: str, variables: tuple[str, ...] = CHOOSABLE) -> str:
    """A gauge of the ledger; the dashboard's `variables` select its series."""
    selector, labels = _of_ledger(metric, matchers, variables)
    return f"max by ({labels}) ({selector})"


def ledger_rate(
    metric: str,
    *matchers: str,
    over: str = "$__rate_interval",
    variables: tuple[str, ...] = CHOOSABLE,
) -> str:
    """The rate of a counter of the ledger, which a restart of a controller does not reset."""
    selector, labels = _of_ledger(metric, matchers, variables)
    return f"max by ({labels}) (rate({selector}[{over}]))"


def ledger_increase(
    metric: str, *matchers: str, over: str = "1h", variables: tuple[str, ...] = CHOOSABLE
) -> str:
    """The growth of a counter of the ledger, across restarts of controllers."""
    selector, labels = _of_ledger(metric, matchers, variables)
    return f"increase(max by ({labels}) ({selector})[{over}:1m])"


def quantile(q: float, buckets: str, *by: str) -> str:
    """A quantile of a histogram; `buckets` are the rates of its buckets."""
    return f"histogram_quantile({q}, {total(buckets, 'le', *by)})"


def ratio(part: str, whole: str) -> str:
    """The share of `part` in `whole`; no sample where `whole` is zero."""
    return f"{part} / ({whole} > 0)"


def or_zero(expression: str, presence: str = "") -> str:
    """Zero where the series do not exist yet and any process of the release is scraped."""
    return f"{expression} or 0 * {presence or f'count({BUILDS})'}"


def or_none(expression: str, label: str, presence: str) -> str:
    """A series `none` at zero besides, so that a healthy system does not look like missing data."""
    return f'{expression} or label_replace(0 * {presence}, "{label}", "none", "", "")'


def in_days(seconds: str) -> str:
    """For the axis of a graph: Grafana divides long times into odd parts of weeks."""
    return f"({seconds}) / 86400"


BUILDS = select("heavylift_build_info")


def processes(component: str) -> str:
    chosen = select("heavylift_build_info", f'component="{component}"')
    return or_zero(f"count({chosen})")


REQUESTS = "http_server_request_duration_seconds_count"
REQUEST_BUCKETS = "http_server_request_duration_seconds_bucket"

# Without streams and downloads: their duration depends on the client.
QUICK = 'http_route!~".*/(events|content)"'
