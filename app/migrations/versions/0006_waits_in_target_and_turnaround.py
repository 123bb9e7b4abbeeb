"""Whether an attempt waited within its target, and a job's turnaround"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without a default: what an older version writes meanwhile is not known, and is not counted.
    op.add_column("job_runs", sa.Column("first_eligible_at", sa.DateTime(timezone=True)))
    op.add_column("job_runs", sa.Column("wait_target", sa.Double()))
    op.add_column("job_tallies", sa.Column("within_target", sa.Boolean()))
    op.add_column("job_tallies", sa.Column("turnaround", sa.Double()))


def downgrade() -> None:
    op.drop_column("job_tallies", "turnaround")
    op.drop_column("job_tallies", "within_target")
    op.drop_column("job_runs", "wait_target")
    op.drop_column("job_runs", "first_eligible_at")
