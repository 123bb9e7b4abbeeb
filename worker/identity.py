"""What a worker is: to dispatch, to other workers, and to its own children."""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from app.jobs import KindRegistry


@dataclass(frozen=True, slots=True)
class Identity:
    id: UUID
    pool: str
    version: str
    kinds: KindRegistry
    """Those that it runs."""

    @property
    def build(self) -> str:
        """A version and its kinds in one word: workers that share it run the same jobs."""
        return hashlib.sha256("\n".join([self.version, *self.kinds]).encode()).hexdigest()[:12]
