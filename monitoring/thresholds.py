"""Every number that an operator may change, with its default.

The chart and `heavylift up --observe` put values in place of `${name}` in rules.yaml.
"""

import re
from collections.abc import Mapping

from monitoring.model import Threshold

PLACEHOLDER = re.compile(r"\$\{([a-z_0-9]+)\}")

# Where the repository has them: an operator may keep copies.
RUNBOOKS = "https://github.com/heavylift/heavylift/blob/main/docs/runbooks"

THRESHOLDS = (
    # Addresses in the alerts' annotations.
    Threshold("runbooks", RUNBOOKS, "URL", "Folder of the runbooks that alerts link to."),
    Threshold("dashboards", "http://localhost:3000", "URL", "Grafana that alerts link to."),
    Threshold(
        "keep_firing",
        "5m",
        "duration",
        "How long an alert stays after its condition has ended, so that a missed scrape or a pause "
        "between two jobs does not resolve it.",
    ),
    # Objectives over 30 days.
    Threshold(
        "api_availability_objective", 0.999, "ratio", "Requests that are not answered with a 5xx."
    ),
    Threshold("api_latency_objective", 0.95, "ratio", "Requests that are answered within 1.5 s."),
    Threshold(
        "job_wait_high_objective",
        0.99,
        "ratio",
        "Attempts in pools of high urgency (wait target of at most 10 s) that start in time.",
    ),
    Threshold(
        "job_wait_normal_objective",
        0.95,
        "ratio",
        "Attempts in pools of normal urgency (wait target of at most 120 s) that start in time.",
    ),
    Threshold(
        "job_wait_low_objective",
        0.9,
        "ratio",
        "Attempts in pools of low urgency (longer wait targets) that start in time.",
    ),
    Threshold("job_success_objective", 0.99, "ratio", "Finished jobs that are not dead letters."),
    Threshold(
        "api_min_errors",
        25,
        "requests",
        "Failed or slow requests in the long window, below which no budget alert of the API fires.",
    ),
    Threshold(
        "job_min_errors",
        10,
        "jobs",
        "Late attempts or dead letters in the long window, below which no budget alert of the jobs "
        "fires.",
    ),
    # Pools.
    Threshold(
        "pool_stalled_age",
        300,
        "s",
        "Age of the oldest waiting job of a pool with free slots that starts nothing.",
    ),
    Threshold(
        "pool_without_workers_age",
        300,
        "s",
        "Age of the oldest waiting job of a pool that has no workers; longer than an autoscaler "
        "takes to start one.",
    ),
    Threshold(
        "pool_at_maximum_for",
        "15m",
        "duration",
        "How long a pool has its most workers while jobs wait beyond their target.",
    ),
    Threshold(
        "unreadable_jobs_for",
        "15m",
        "duration",
        "How long jobs wait that no live worker can read; longer than a rolling upgrade.",
    ),
    Threshold(
        "cancel_ignored_age",
        120,
        "s",
        "How long a job runs on after it was cancelled; far beyond HEAVYLIFT_WORKER_CANCEL_GRACE.",
    ),
    # Failures.
    Threshold("dead_letters_per_hour", 10, "jobs", "New dead letters of one kind in an hour."),
    Threshold(
        "dead_letters_expiry", 86400, "s", "Time left until a kind's oldest dead letter is removed."
    ),
    Threshold(
        "failure_ratio", 0.25, "ratio", "Attempts of one kind that fail, out of an hour's attempts."
    ),
    Threshold(
        "failure_min_attempts", 10, "attempts", "Failed attempts in an hour, at least, that alert."
    ),
    Threshold(
        "lost_attempts_per_hour",
        5,
        "attempts",
        "Attempts of one pool in an hour that were lost with their worker or child process.",
    ),
    Threshold(
        "killed_children_per_hour",
        5,
        "processes",
        "Child processes of one pool in an hour that crashed or were killed.",
    ),
    Threshold(
        "lost_messages_per_hour", 20, "messages", "Messages of one pool lost and resent in an hour."
    ),
    Threshold(
        "dropped_log_lines",
        1,
        "lines",
        "Log lines in 15 minutes that one process could not write.",
    ),
    # Controllers and what everything depends on.
    Threshold("absent_for", "2m", "duration", "How long a component shows no process at all."),
    Threshold(
        "ledger_read_age", 60, "s", "Time since any controller has read the ledger successfully."
    ),
    Threshold(
        "turn_failures",
        10,
        "turns",
        "Failed turns of one controller loop in 5 minutes, over all controllers, for 10 minutes.",
    ),
    Threshold(
        "dependency_down_for",
        "2m",
        "duration",
        "How long no process of a component reaches a dependency.",
    ),
    Threshold("certificate_expiry", 1209600, "s", "Time left of a server's certificate: a ticket."),
    Threshold(
        "certificate_expiry_page", 86400, "s", "Time left of a server's certificate: a page."
    ),
    Threshold("signing_key_age", 31536000, "s", "Age of a key that signs tokens."),
    Threshold("dispatch_paused_for", "1h", "duration", "How long dispatch is paused."),
    Threshold(
        "dispatch_paused_age",
        7200,
        "s",
        "Age of the oldest waiting job, while dispatch is paused, that pages.",
    ),
    Threshold(
        "database_sessions_ratio", 0.85, "ratio", "PostgreSQL sessions in use out of its maximum."
    ),
    Threshold(
        "database_waiting_ratio",
        0.5,
        "requests per connection",
        "Requests that wait for a database connection, per connection of the API's pools.",
    ),
    Threshold(
        "database_pool_timeouts",
        5,
        "requests",
        "Requests in 5 minutes that got no database connection in time.",
    ),
    Threshold(
        "long_transaction_age",
        3600,
        "s",
        "Age of the oldest open transaction. Raise it above the duration of a dump.",
    ),
)

DEFAULTS: Mapping[str, float | str] = {one.name: one.default for one in THRESHOLDS}


def filled(text: str, values: Mapping[str, float | str] = DEFAULTS) -> str:
    """The text with values in place of placeholders. Raises `KeyError` for an unknown name."""
    return PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)
