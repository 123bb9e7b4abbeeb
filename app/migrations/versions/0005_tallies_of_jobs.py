"""Tallies of jobs, and since when each is eligible"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What there is has waited since now, for all that is known; a volatile default would write every
# row anew.
ADD_ELIGIBLE_AT = "ALTER TABLE job_runs ADD COLUMN eligible_at timestamptz NOT NULL DEFAULT now()"

# The column above has locked the table already, and it is as short as the backlog: the index takes
# half a second for a million waiting jobs, and the same transaction counts them.
OLDEST_INDEX = """
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX job_runs_oldest_idx ON job_runs (pool, eligible_at) WHERE state = 'queued'
"""

# Jobs that have ended are not counted: their pools are not known any more, nor those before them
# that were removed. Counters begin with what is unfinished.
COUNT_WHAT_IS_THERE = """
INSERT INTO job_tallies (pool, kind, event, to_state, n)
SELECT pool, kind, 'accepted', state, count(*) FROM job_runs GROUP BY pool, kind, state
"""


def upgrade() -> None:
    churn = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}
    op.create_table(
        "job_tallies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), server_default="", nullable=False),
        sa.Column("to_state", sa.Text(), server_default="", nullable=False),
        sa.Column("dead", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("n", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("job_tallies_pkey")),
        postgresql_with=churn,
    )
    op.create_table(
        "job_totals",
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=False),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("dead", sa.Boolean(), nullable=False),
        sa.Column("le", sa.Double(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "pool",
            "kind",
            "event",
            "from_state",
            "to_state",
            "dead",
            "le",
            name=op.f("job_totals_pkey"),
        ),
        postgresql_with={"fillfactor": 50, **churn},
    )
    op.execute(ADD_ELIGIBLE_AT)
    op.execute("ALTER TABLE job_runs ALTER COLUMN eligible_at SET DEFAULT clock_timestamp()")
    op.execute(OLDEST_INDEX)
    op.execute(COUNT_WHAT_IS_THERE)


def downgrade() -> None:
    op.drop_index("job_runs_oldest_idx", table_name="job_runs")
    op.drop_column("job_runs", "eligible_at")
    op.drop_table("job_totals")
    op.drop_table("job_tallies")
