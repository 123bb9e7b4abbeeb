"""The table of the faults, printed when all tests have run."""

import pytest

from tests.observe.faults import FAULTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        line
        for report in terminalreporter.getreports("")
        for name, line in report.user_properties
        if name == FAULTS and report.when == "teardown"
    ]
    if lines:
        terminalreporter.section("faults: seconds until their alerts fire, and are resolved")
        for line in lines:
            terminalreporter.write_line(str(line))
