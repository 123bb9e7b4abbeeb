"""What can go wrong with a request, told apart: each has a line of its own in Locust's report.

Texts are made of what is bounded (a status, a problem's type, a field's name), never of ids or
what a server has written: Locust keeps a row for each text.
"""

import json
import re

PROBLEM = "application/problem+json"

# The last part of a problem's type, as the API's document has it.
_TYPE = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){0,8}")
_LONGEST_TYPE = 64


class Failure(Exception):
    """Ends the journey that it happens in; it has been counted then."""

    what: str
    result: str
    """Value of the metrics' label `result`."""

    def __init__(self, detail: str, *, problem: str | None = None) -> None:
        super().__init__(f"{self.what}: {detail}")
        self.problem = problem
        """The type of the problem document that came in place of the answer."""

    def __repr__(self) -> str:
        """What Locust shows and compares, and what its workers send to the master."""
        return str(self)


class Limited(Failure):
    what = "refused by limits"
    result = "refused"


class ProblemAnswer(Failure):
    what = "problem"
    result = "problem"


class WrongStatus(Failure):
    what = "wrong status"
    result = "wrong-status"


class TimedOut(Failure):
    what = "timeout"
    result = "timeout"


class NotConnected(Failure):
    what = "connection"
    result = "connection"


class WrongContent(Failure):
    what = "wrong content"
    result = "wrong-content"


class JobFailed(Failure):
    what = "job"
    result = "job-failed"


class Unfinished(Failure):
    what = "unfinished"
    result = "unfinished"


# Results of a request, a job or a journey; `error` is a fault of the load test itself.
RESULTS = ("ok", *(kind.result for kind in Failure.__subclasses__()), "error")


def unreached(error: BaseException) -> Failure:
    """Of a request that got no answer, or not all of it."""
    # What Locust's client wraps in a `RetriesExceeded`, though it makes no retries.
    error = getattr(error, "original", None) or error
    # gevent's is none of Python's.
    if isinstance(error, TimeoutError) or type(error).__name__ == "Timeout":
        return TimedOut("no answer in time")
    return NotConnected(type(error).__name__)


def problem_type(body: bytes) -> str:
    try:
        uri = json.loads(body)["type"]
        name = uri.rpartition("/")[2]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "without a type"
    known = len(name) <= _LONGEST_TYPE and _TYPE.fullmatch(name)
    return name if known else "of an unreadable type"


def refused(status: int, content_type: str, body: bytes) -> Failure:
    """Of an answer whose status is not the one that was to come."""
    limited = status == 429
    if content_type.partition(";")[0].strip().lower() == PROBLEM:
        problem = problem_type(body)
        kind = Limited if limited else ProblemAnswer
        return kind(f"{status} {problem}", problem=problem)
    return (Limited if limited else WrongStatus)(f"{status}, no problem document")
