from sqlalchemy import BigInteger, Identity, false, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base

# Rows come and go, or change, all the time, and there are never many of them.
CHURN = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}


class JobTally(Base):
    """What one statement of the ledger did to jobs of a kind, until it is added to the totals.

    `from_state` and `to_state` are empty for a job that was not there, or that did not move.
    """

    __tablename__ = "job_tallies"
    __table_args__ = ({"postgresql_with": CHURN},)

    # In the order in which they were written: no job leaves a state before it entered it.
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    pool: Mapped[str]
    kind: Mapped[str]
    event: Mapped[str]
    from_state: Mapped[str] = mapped_column(server_default="")
    to_state: Mapped[str] = mapped_column(server_default="")
    dead: Mapped[bool] = mapped_column(server_default=false())
    # How long it waited (a claim) or ran (an attempt's end).
    seconds: Mapped[float | None]
    # Whether it waited no longer than its kind's target (a claim).
    within_target: Mapped[bool | None]
    # From when the job could first have started to its end (a job's end), in seconds.
    turnaround: Mapped[float | None]
    n: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))


class JobTotal(Base):
    """All tallies of one sort there ever were, by the bucket that their seconds fall in.

    `le` is the bucket's upper bound: infinite past the last one, and where nothing was measured.
    """

    __tablename__ = "job_totals"
    __table_args__ = ({"postgresql_with": {"fillfactor": 50, **CHURN}},)

    pool: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(primary_key=True)
    from_state: Mapped[str] = mapped_column(primary_key=True)
    to_state: Mapped[str] = mapped_column(primary_key=True)
    dead: Mapped[bool] = mapped_column(primary_key=True)
    le: Mapped[float] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
