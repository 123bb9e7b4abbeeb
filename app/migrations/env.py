from alembic import context
from sqlalchemy import Engine, text

from app.migrations import LOCK_TIMEOUT, STATEMENT_TIMEOUT
from app.models import Base

# One migration at a time, whoever starts it; released with the transaction.
MIGRATION_LOCK = 0x4845415659


def begin() -> None:
    """Set what a migration needs, over the role's and the database's defaults."""
    # First: no query may come before SET TRANSACTION.
    context.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    context.execute("SET LOCAL standard_conforming_strings = on")
    context.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
    context.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'")
    # Nor does a machine that vanished in the middle of it.
    context.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{STATEMENT_TIMEOUT}'")


def run() -> None:
    if context.is_offline_mode():
        context.configure(
            dialect_name="postgresql",
            # Any other doubles each % sign, as a driver wants it and psql does not.
            dialect_opts={"paramstyle": "named"},
            target_metadata=Base.metadata,
            literal_binds=True,
        )
        with context.begin_transaction():
            begin()
            context.run_migrations()
        return
    engine: Engine = context.config.attributes["engine"]
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            begin()
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            context.run_migrations()


run()
