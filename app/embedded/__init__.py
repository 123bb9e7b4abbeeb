"""A real PostgreSQL, a real Redis and the parts as child processes, for laptops and tests."""

from app.embedded.postgres import EmbeddedPostgres
from app.embedded.process import EmbeddedError
from app.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedRedis"]
