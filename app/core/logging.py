"""Logs to stdout: one JSON object a line, or coloured text for a terminal."""

import functools
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import structlog
from pydantic_core import PydanticSerializationError, to_json
from structlog.typing import EventDict, Processor
from typing_extensions import override

from app.core.config import Log
from app.core.lines import Lines

# The methods of structlog's loggers that write a line.
METHODS = ("debug", "info", "warning", "error", "critical", "exception", "log", "msg", "warn")

_lines: Lines | None = None


def dropped_lines() -> int:
    """The log lines that this process and its children could not write."""
    return 0 if _lines is None else _lines.dropped


def _shown(value: Any) -> str:
    """The value's `repr`, or its type where that raises."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


_encode = json.JSONEncoder(default=_shown).encode


def _json(line: EventDict) -> str:
    """ASCII, whatever is in it. Pydantic's takes a quarter of the standard library's time."""
    try:
        text = to_json(line, fallback=_shown).decode()
        return text if text.isascii() else _encode(line)
    except (ValueError, PydanticSerializationError):
        # Half a surrogate pair, or bytes that are no text.
        pass
    try:
        return _encode(line)
    except (TypeError, ValueError, RecursionError):
        # A key that is no text, a structure that holds itself, or one that is too deep.
        return _encode({str(name): _shown(value) for name, value in line.items()})


# The second that it is, as it is written.
_second = (0, "")


def _now() -> str:
    """ISO 8601, in UTC, to the microsecond: a quarter of the time of `datetime`'s own."""
    global _second  # noqa: PLW0603 - replaced as a whole, so that threads need no lock
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    known, text = _second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = second, text
    return f"{text}.{nanoseconds // 1000:06}Z"


def _stamp(_: Any, method: str, line: EventDict) -> EventDict:
    line["level"] = method
    line["timestamp"] = _now()
    return line


def _render(logger: Any, method: str, line: EventDict) -> str:
    # Tracebacks without local variables: those hold passwords, and printing them took 2.7 s.
    if "exc_info" in line:
        try:
            line = structlog.processors.format_exc_info(logger, method, line)
        except Exception as error:
            line["exception"] = f"a traceback that can't be shown: {_shown(error)}"
            line.pop("exc_info", None)
    return _json(line)


class _Handler(logging.Handler):
    """The standard library's lines: those of libraries and servers."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.write(f"{self.format(record)}\n")
        except Exception:
            # The standard library would print to stderr, which may be full as well.
            self._lines.drop()


def _unfailing(logger: type[Any], lines: Lines) -> type[Any]:
    """structlog's logger, without what its processors and their values may raise."""

    def without_errors(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *args: Any, **values: Any) -> Any:
            try:
                return method(self, *args, **values)
            except Exception:
                lines.drop()

        return call

    return type(
        "Logger", (logger,), {name: without_errors(getattr(logger, name)) for name in METHODS}
    )


def configure_logging(settings: Log) -> None:
    """Once in a process; later calls change nothing."""
    global _lines  # noqa: PLW0603 - one a process, as structlog's own configuration
    if structlog.is_configured():
        return
    lines = _lines = Lines()
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    terminal = sys.stdout is not None and sys.stdout.isatty()
    text = terminal if settings.format is None else settings.format == "text"
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, _stamp]
    render: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=terminal, exception_formatter=structlog.dev.plain_traceback
        )
        if text
        else _render
    )
    # A logger of structlog's kind, not the standard library's: 68 us less for each line.
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=_unfailing(structlog.make_filtering_bound_logger(level), lines),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    # What libraries and servers say through the standard library, in the same form.
    handler = _Handler(lines)
    # Here as well: what a library's own logger lets through does not ask the root's level.
    handler.setLevel(level)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    # A line at info for each request that succeeds: the controllers look at pods all day.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.captureWarnings(True)


def log_crashes() -> None:
    """What nobody caught, in this process and its children, is a line like any other."""
    log = structlog.get_logger()

    def process(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, traceback)
        else:
            log.critical("crashed", exc_info=(kind, error, traceback))

    def thread(crash: threading.ExceptHookArgs) -> None:
        if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
            name = None if crash.thread is None else crash.thread.name
            log.critical("thread crashed", thread=name, exc_info=crash.exc_value)

    def unraisable(crash: Any) -> None:
        log.error(crash.err_msg or "ignored exception", exc_info=crash.exc_value)

    sys.excepthook = process
    threading.excepthook = thread
    sys.unraisablehook = unraisable
