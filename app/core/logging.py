"""Logs to stdout: one JSON object a line, or coloured text for a terminal."""

import functools
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

import structlog
from pydantic_core import PydanticSerializationError, to_json
from structlog.typing import EventDict, ExcInfo, Processor
from typing_extensions import override

from app.core.config import Log
from app.core.lines import Lines
from app.core.text import text_of

# The methods of structlog's loggers that write a line.
METHODS = ("debug", "info", "warning", "error", "critical", "exception", "log", "msg", "warn")

# Characters of one traceback, and exceptions that it shows: a job raised one of 10 MB, and a chain
# of 100,000 exceptions took 4 s.
MAX_TRACEBACK = 32_000
MAX_EXCEPTIONS = 50

_lines: Lines | None = None


def dropped_lines() -> int:
    """The log lines that this process and its children could not write."""
    return 0 if _lines is None else _lines.dropped


def _shown(value: Any) -> str:
    """The value's `repr`, or its type if that raises."""
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


def _plain(value: Any) -> str | int:
    return value if isinstance(value, str | int) else _shown(value)


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
        # A key that is not text, or a structure that is cyclic or too deep.
        return _encode({str(name): _plain(value) for name, value in line.items()})


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


def _few(error: BaseException) -> bool:
    """Whether the exception's members and causes are few enough to show."""
    waiting = [error]
    for _ in range(MAX_EXCEPTIONS):
        if not waiting:
            return True
        each = waiting.pop()
        earlier = each.__context__ if each.__cause__ is None else each.__cause__
        if earlier is not None:
            waiting.append(earlier)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions[:MAX_EXCEPTIONS]
    return not waiting


def _traceback(exc_info: ExcInfo) -> str:
    """Format without local variables: those hold passwords, and printing them took 2.7 s.

    Raises nothing. An exception is foreign code: its text may be 10 MB, and its notes may raise.
    """
    kind, error, tb = exc_info
    try:
        if _few(error):
            text = "".join(traceback.format_exception(kind, error, tb))
        else:
            # The standard library would format all of them, and never finish an endless group.
            said = f"{kind.__name__}: {text_of(error, MAX_TRACEBACK)} (and many more behind it)"
            text = "".join([*traceback.format_tb(tb), said])
    except BaseException as failure:
        text = f"{kind.__name__}: its traceback raises {type(failure).__name__}"
    if len(text) > MAX_TRACEBACK:
        # The exception is at the end, and the outermost call at the beginning.
        half = MAX_TRACEBACK // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters ...\n{text[-half:]}"
    return text.removesuffix("\n")


def _print_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    out.write(f"\n{_traceback(exc_info)}")


_with_traceback = structlog.processors.ExceptionRenderer(_traceback)


def _render(logger: Any, method: str, line: EventDict) -> str:
    if "exc_info" in line:
        line = _with_traceback(logger, method, line)
    return _json(line)


def _unfailing(render: Processor) -> Processor:
    """Render a line without the values that can't be shown, rather than raise."""

    def rendered(logger: Any, method: str, line: EventDict) -> Any:
        try:
            return render(logger, method, dict(line))
        except BaseException as failure:
            plain = {name: value for name, value in line.items() if isinstance(value, str | int)}
            return _json({**plain, "unrendered": type(failure).__name__})

    return rendered


def log_renderer(*, as_text: bool) -> Processor:
    if not as_text:
        return _unfailing(_render)
    colors = sys.stdout is not None and sys.stdout.isatty()
    return _unfailing(
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_print_traceback)
    )


class _Handler(logging.Handler):
    """Writes the log records of the standard library: those of libraries and servers."""

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


def _never_raising(logger: type[Any], lines: Lines) -> type[Any]:
    """A subclass of structlog's logger that drops a line if its processors or values raise."""

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
    render = log_renderer(as_text=text)
    # A logger of structlog's kind, not the standard library's: 68 us less for each line.
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=_never_raising(structlog.make_filtering_bound_logger(level), lines),
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


class SavedLogging:
    """The configuration of structlog and of the standard library's root logger at one moment."""

    def __init__(self) -> None:
        self._configured = structlog.is_configured()
        self._configuration = structlog.get_config()
        self._processors = [*self._configuration["processors"]]
        root = logging.getLogger()
        self._level = root.level
        self._handlers = [*root.handlers]
        self._disabled = root.manager.disable

    def put_back(self) -> None:
        # In place, since loggers in use share the list.
        self._configuration["processors"][:] = self._processors
        if self._configured:
            structlog.configure(**self._configuration)
        else:
            structlog.reset_defaults()
        root = logging.getLogger()
        root.handlers[:] = self._handlers
        # Both empty a cache of each logger.
        if root.manager.disable != self._disabled:
            logging.disable(self._disabled)
        if root.level != self._level:
            root.setLevel(self._level)


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
