"""One run of the whole stack for all that looks at its signals; the faults' table at the end."""

from collections.abc import Iterator

import pytest

from tests.observe.faults import FAULTS
from tests.observe.pictures import missing
from tests.observe.scenario import Evidence, run
from tests.servers import scratch_folder


@pytest.fixture(scope="session")
def evidence() -> Iterator[Evidence]:
    with scratch_folder() as folder:
        yield run(folder / "stack", drawing=not missing())


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
