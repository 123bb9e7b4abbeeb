from io import StringIO

import pytest
from rich.console import Console

from app.cli.up import console_log

LONG = "a line that is far longer than any terminal is wide, " * 5


def written(*lines: tuple[str, str], terminal: bool) -> str:
    output = StringIO()
    log = console_log(Console(file=output, force_terminal=terminal, highlight=False))
    for name, line in lines:
        log(name, line)
    return output.getvalue()


def test_each_line_says_whose_it_is_and_is_neither_read_as_markup_nor_wrapped() -> None:
    lines = [("api", "[bold]200[/] /path"), ("worker-cpu", LONG), ("worker-cpu", "")]
    assert written(*lines, terminal=False).splitlines() == [
        "api        | [bold]200[/] /path",
        f"worker-cpu | {LONG}",
    ]


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[36mapi" in written(("api", "up"), terminal=True)
    assert "\x1b[" not in written(("api", "up"), terminal=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in written(("api", "up"), terminal=True)
