"""What was done, what was seen, in how many seconds: printed when all tests have run."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Row:
    done: str
    seen: str = ""
    seconds: float = 0.0

    def saw(self, what: str) -> None:
        self.seen = f"{self.seen}; {what}" if self.seen else what


@dataclass
class Table:
    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def row(self, done: str) -> Iterator[Row]:
        row = Row(done)
        self.rows.append(row)
        began = time.monotonic()
        try:
            yield row
        except BaseException:
            row.saw("FAILED")
            raise
        finally:
            row.seconds = time.monotonic() - began

    def lines(self) -> Iterator[str]:
        width = max((len(row.done) for row in self.rows), default=0)
        yield f"{'done':<{width}}  {'s':>4}  seen"
        for row in self.rows:
            yield f"{row.done:<{width}}  {row.seconds:>4.0f}  {row.seen}"
