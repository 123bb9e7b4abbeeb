"""Users, files, jobs and their runs"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Version 7 UUIDs (RFC 9562, section 6.2, method 3: sub-millisecond clock in rand_a) for PostgreSQL
# 15 to 17, which have no uuidv7() of their own.
UUID7 = """
CREATE FUNCTION heavylift_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(
        overlay(
            overlay(
                uuid_send(gen_random_uuid())
                PLACING substring(int8send(clock.us / 1000) FROM 3) FROM 1 FOR 6
            )
            PLACING int2send((x'7000'::int + (clock.us % 1000) * 4096 / 1000)::int2) FROM 7 FOR 2
        ),
        'hex'
    )::uuid
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock
$$
"""


def upgrade() -> None:
    op.execute(UUID7)
    op.create_table(
        "pools",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column(
            "cursor",
            sa.Uuid(),
            server_default=sa.text("'00000000-0000-0000-0000-000000000000'"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pools_pkey")),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), server_default=sa.text("heavylift_uuid7()"), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
    )
    op.create_index("users_email_key", "users", [sa.literal_column("lower(email)")], unique=True)
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("hostname", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("build", sa.Text(), nullable=False),
        sa.Column("kinds", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("busy", sa.Integer(), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("heavylift_uuid7()"), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_detail", sa.Text(), nullable=True),
        sa.Column("dead", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'failed', 'cancelled')", name=op.f("jobs_outcome_check")
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (finished_at IS NULL)",
            name=op.f("jobs_finished_has_outcome_check"),
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("jobs_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
    )
    op.create_index("jobs_dead_idx", "jobs", ["id"], unique=False, postgresql_where="dead")
    op.create_index(
        "jobs_expiry_idx",
        "jobs",
        ["expires_at"],
        unique=False,
        postgresql_where="expires_at IS NOT NULL",
    )
    op.create_index(
        "jobs_idempotency_age_idx",
        "jobs",
        ["created_at"],
        unique=False,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_index(
        "jobs_idempotency_key",
        "jobs",
        ["owner_id", "kind", "idempotency_key"],
        unique=True,
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.create_index("jobs_owner_idx", "jobs", ["owner_id", "id"], unique=False)
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), server_default=sa.text("heavylift_uuid7()"), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state <> 'ready' OR (size IS NOT NULL AND sha256 IS NOT NULL)",
            name=op.f("files_ready_is_whole_check"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'ready', 'deleting')", name=op.f("files_state_check")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("files_job_id_fkey"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["owner_id"], ["users.id"], name=op.f("files_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("files_pkey")),
        sa.UniqueConstraint("key", name=op.f("files_key_key")),
    )
    op.create_index("files_expiry_idx", "files", ["expires_at"], unique=False)
    op.create_index(
        "files_job_idx", "files", ["job_id"], unique=False, postgresql_where="job_id IS NOT NULL"
    )
    op.create_index(
        "files_owner_idx",
        "files",
        ["owner_id", "id"],
        unique=False,
        postgresql_where="state = 'ready'",
    )
    op.create_table(
        "job_runs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("publishes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("build", sa.Text(), nullable=True),
        sa.Column(
            "refused_by", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("releases", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("worker_id", sa.Uuid(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL)",
            name=op.f("job_runs_running_has_lease_check"),
        ),
        sa.CheckConstraint(
            "(state = 'scheduled') = (due_at IS NOT NULL)",
            name=op.f("job_runs_scheduled_is_due_check"),
        ),
        sa.CheckConstraint(
            "state IN ('scheduled', 'queued', 'running')", name=op.f("job_runs_state_check")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("job_runs_job_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("job_runs_pkey")),
        postgresql_with={
            "fillfactor": 60,
            "autovacuum_vacuum_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_index(
        "job_runs_backlog_idx",
        "job_runs",
        [
            "pool",
            "kind",
            "refused_by",
            "owner_id",
            sa.literal_column("priority DESC"),
            "job_id",
        ],
        unique=False,
        postgresql_where="state = 'queued' AND dispatched_at IS NULL",
    )
    op.create_index(
        "job_runs_due_idx",
        "job_runs",
        ["due_at"],
        unique=False,
        postgresql_where="state = 'scheduled'",
    )
    op.create_index(
        "job_runs_held_idx",
        "job_runs",
        ["pool", "owner_id"],
        unique=False,
        postgresql_where="dispatched_at IS NOT NULL",
    )
    op.create_table(
        "job_files",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name=op.f("job_files_file_id_fkey")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["job_runs.job_id"], name=op.f("job_files_job_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "file_id", name=op.f("job_files_pkey")),
    )
    op.create_index("job_files_file_idx", "job_files", ["file_id"], unique=False)


def downgrade() -> None:
    op.drop_index("job_files_file_idx", table_name="job_files")
    op.drop_table("job_files")
    op.drop_index(
        "job_runs_held_idx", table_name="job_runs", postgresql_where="dispatched_at IS NOT NULL"
    )
    op.drop_index("job_runs_due_idx", table_name="job_runs", postgresql_where="state = 'scheduled'")
    op.drop_index(
        "job_runs_backlog_idx",
        table_name="job_runs",
        postgresql_where="state = 'queued' AND dispatched_at IS NULL",
    )
    op.drop_table("job_runs")
    op.drop_index("files_owner_idx", table_name="files", postgresql_where="state = 'ready'")
    op.drop_index("files_job_idx", table_name="files", postgresql_where="job_id IS NOT NULL")
    op.drop_index("files_expiry_idx", table_name="files")
    op.drop_table("files")
    op.drop_index("jobs_owner_idx", table_name="jobs")
    op.drop_index(
        "jobs_idempotency_key", table_name="jobs", postgresql_where="idempotency_key IS NOT NULL"
    )
    op.drop_index(
        "jobs_idempotency_age_idx",
        table_name="jobs",
        postgresql_where="idempotency_key IS NOT NULL",
    )
    op.drop_index("jobs_expiry_idx", table_name="jobs", postgresql_where="expires_at IS NOT NULL")
    op.drop_index("jobs_dead_idx", table_name="jobs", postgresql_where="dead")
    op.drop_table("jobs")
    op.drop_table("workers")
    op.drop_index("users_email_key", table_name="users")
    op.drop_table("users")
    op.drop_table("pools")
    op.execute("DROP FUNCTION heavylift_uuid7()")
