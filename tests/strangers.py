"""What a stranger may leave in a queue: everything but a message of ours."""

import base64
import json
import zlib
from typing import Any
from uuid import uuid4


def changed(message: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**message, **{name.replace("_", "-"): value for name, value in changes.items()}}


def body(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def zipped(value: object) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


def message() -> dict[str, Any]:
    """A message as Celery writes it for a controller, for a job that no ledger has."""
    job = str(uuid4())
    task = f"{job}.1.1"
    return {
        "body": body([[job], {}, {"callbacks": None, "errbacks": None, "chain": None}]),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": "heavylift.run",
            "id": task,
            "timelimit": [None, None],
            "retries": 0,
            "ignore_result": True,
            "origin": "gen1@host",
        },
        "properties": {
            "correlation_id": task,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "cpu"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def strange(*, huge: int = 100_000) -> list[bytes]:
    """Elements of every kind that no controller sends; some have `huge` bytes."""
    sent = message()
    headers, properties = sent["headers"], sent["properties"]
    job = str(uuid4())
    shaped: list[object] = [
        *([], {}, "text", 7, None, True, [[[]]]),
        changed(sent, body=None),
        changed(sent, body=7),
        changed(sent, body="%%% not base64"),
        changed(sent, body=base64.b64encode(b"\xff\xfe{").decode()),
        changed(sent, body=body({"job": job})),
        changed(sent, body=body([])),
        changed(sent, body=body([[], {}, {}])),
        changed(sent, body=body([["not a uuid"], {}, {}])),
        changed(sent, body=body([[7], {}, {}])),
        changed(sent, body=body([[None], {}, {}])),
        changed(sent, body=body([[job, "more"], {}, {}])),
        changed(sent, body=body([[], {"job_id": job}, {}])),
        changed(sent, body=body([[job], {"more": 1}, {}])),
        changed(sent, content_type="application/x-python-serialize"),
        changed(sent, content_type="text/plain"),
        changed(sent, content_type=None),
        changed(sent, content_encoding="binary"),
        changed(sent, headers=None),
        changed(sent, headers=[]),
        changed(sent, headers={}),
        changed(sent, headers={**headers, "task": "celery.backend_cleanup"}),
        changed(sent, headers={**headers, "task": "heavylift.run2"}),
        changed(sent, headers={**headers, "task": ["heavylift.run"]}),
        changed(sent, headers={**headers, "task": {}}),
        changed(sent, headers={**headers, "id": None}),
        changed(sent, headers={**headers, "id": 7}),
        changed(sent, headers={**headers, "id": str(uuid4())}),
        changed(sent, headers={**headers, "traceparent": ["00-1"]}),
        changed(sent, headers={**headers, "compression": "zlib"}, body=zipped([[job], {}, {}])),
        changed(sent, properties=None),
        changed(sent, properties={}),
        changed(sent, properties={**properties, "body_encoding": "rot13"}),
        {name: part for name, part in sent.items() if name != "body"},
        {name: part for name, part in sent.items() if name != "headers"},
        {name: part for name, part in sent.items() if name != "properties"},
        # Celery's protocol 1: all of it in the body.
        changed(sent, headers={}, body=body({"task": "heavylift.run", "id": "1", "args": [job]})),
    ]
    return [
        *(b"", b"\x00", b"\xff\xfe\xfd", b"{", b"not JSON", b"[" * 20_000, b"NaN", b'"\\ud800"'),
        b"x" * huge,
        json.dumps(changed(sent, body="A" * huge)).encode(),
        *(json.dumps(element).encode() for element in shaped),
    ]
