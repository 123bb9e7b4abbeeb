"""Names a pool's queues in Redis, reads their messages, and counts foreign elements.

Anybody who can write to Redis can put anything into a queue. A message says which job may be
claimed, and the ledger decides the rest: nothing else in a message is used.
"""

import json
import re
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from uuid import UUID, uuid4

import structlog
from pydantic import AfterValidator, Base64Bytes, BaseModel, Field, TypeAdapter, ValidationError

from app.core.spaced import Spaced

log = structlog.get_logger()

TASK: Final = "heavylift.run"

# The header with the span that sent the message, as W3C Trace Context writes it.
HEADER: Final = "traceparent"

# Its value (W3C Trace Context, sections 3.2.1 and 3.2.2): version ff and ids of zeros are invalid.
TRACEPARENT: Final = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)

# The prefix of every key in Redis that Celery makes; other applications may share the database.
KEY_PREFIX: Final = "heavylift:"

# Maximum bytes of one message; a controller's have some 1,300.
MAX_BYTES: Final = 16 * 1024

# Seconds between two log lines about dropped elements: a stranger may send any number.
SPACING: Final = 60.0

# Deletes a queue's key if it has another type, and returns whether it did.
DROP_UNLESS_LIST: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'list' or kind == 'none' then
    return 0
end
return redis.call('DEL', KEYS[1])
"""


def queue_name(pool: str, build: str | None = None) -> str:
    """A pool's queue, or that of the pool's workers of one build."""
    return pool if build is None else f"{pool}.{build}"


def queue_key(queue: str) -> str:
    """The Redis list that holds a queue's messages."""
    return f"{KEY_PREFIX}{queue}"


def _valid(traceparent: str | None) -> str | None:
    """Drop an invalid `traceparent`: the job runs all the same, in its own trace."""
    return traceparent if traceparent and TRACEPARENT.fullmatch(traceparent) else None


class _Headers(BaseModel):
    task: Literal["heavylift.run"]
    id: str
    traceparent: Annotated[str | None, AfterValidator(_valid)] = None


class _Properties(BaseModel):
    body_encoding: Literal["base64"]


class _Envelope(BaseModel):
    """The parts of kombu's message that are used."""

    body: Base64Bytes
    content_type: Annotated[Literal["application/json"], Field(alias="content-type")]
    content_encoding: Annotated[Literal["utf-8"], Field(alias="content-encoding")]
    headers: _Headers
    properties: _Properties


# Celery's body: positional arguments, named arguments, and tasks that are to follow.
_BODY: TypeAdapter[tuple[tuple[UUID], Annotated[dict[str, Any], Field(max_length=0)], Any]] = (
    TypeAdapter(tuple[tuple[UUID], Annotated[dict[str, Any], Field(max_length=0)], Any])
)


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    task_id: str
    job_id: UUID
    traceparent: str | None

    def for_kombu(self, queue: str) -> bytes:
        """The message as Celery sends it, made from the fields of this class only."""
        arguments = json.dumps([[str(self.job_id)], {}, {}]).encode()
        headers = {"lang": "py", "task": TASK, "id": self.task_id, HEADER: self.traceparent}
        properties = {
            "body_encoding": "base64",
            "correlation_id": self.task_id,
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
        }
        return json.dumps(
            {
                "body": b64encode(arguments).decode(),
                "content-type": "application/json",
                "content-encoding": "utf-8",
                "headers": headers,
                "properties": properties,
            }
        ).encode()


def read(element: bytes) -> QueuedMessage | None:
    """Parse an element of a queue; None if no controller can have sent it."""
    if len(element) > MAX_BYTES:
        return None
    try:
        envelope = _Envelope.model_validate_json(element)
        (job_id,), _, _ = _BODY.validate_json(envelope.body)
    except ValidationError:
        return None
    if not envelope.headers.id.startswith(f"{job_id}."):
        return None
    return QueuedMessage(envelope.headers.id, job_id, envelope.headers.traceparent)


class Foreign:
    """Counts foreign elements that were dropped from queues, and logs some of them.

    `counts` is by kind: an `element` of a queue, or a whole `key` of another type.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter(element=0, key=0)
        self._spaced = Spaced(SPACING)

    def __call__(self, queue: str, what: str) -> None:
        self.counts[what] += 1
        if self._spaced.due():
            log.warning(
                "foreign element dropped", what=what, queue=queue, dropped=dict(self.counts)
            )
