"""Newsletter"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "newsletter_subscriptions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("heavylift_uuid7()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "mailed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("newsletter_subscriptions_pkey")),
    )
    op.create_index(
        "newsletter_subscriptions_email_key",
        "newsletter_subscriptions",
        [sa.literal_column("lower(email)")],
        unique=True,
    )
    op.create_index(
        "newsletter_subscriptions_pending_idx",
        "newsletter_subscriptions",
        ["mailed_at"],
        unique=False,
        postgresql_where="confirmed_at IS NULL",
    )


def downgrade() -> None:
    op.drop_index(
        "newsletter_subscriptions_pending_idx",
        table_name="newsletter_subscriptions",
        postgresql_where="confirmed_at IS NULL",
    )
    op.drop_index("newsletter_subscriptions_email_key", table_name="newsletter_subscriptions")
    op.drop_table("newsletter_subscriptions")
