"""The kinds that are installed, found through the entry-point group `heavylift.jobs`."""

from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

from app.core.config import ConfigurationError
from app.jobs.kind import JobKind

GROUP = "heavylift.jobs"

AnyKind = JobKind[Any, Any]


class KindRegistry(Mapping[str, AnyKind]):
    """Raises `ValueError` for kinds that can't be told apart."""

    def __init__(self, kinds: Collection[AnyKind]) -> None:
        self._kinds = {kind.name: kind for kind in sorted(kinds, key=lambda kind: kind.name)}
        if len(self._kinds) != len(kinds):
            names = [kind.name for kind in kinds]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"declared by more than one installed package: {', '.join(twice)}")
        titles: dict[str, str] = {}
        for name, kind in self._kinds.items():
            other = titles.setdefault(kind.title, name)
            if other != name:
                raise ValueError(
                    f"the job kinds {other} and {name} would both be {kind.title} in OpenAPI: "
                    "rename one of them"
                )

    def __getitem__(self, name: str) -> AnyKind:
        return self._kinds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def require_pools(self, pools: Collection[str]) -> None:
        """Raise `ValueError` for a kind that no configured pool could ever run."""
        for kind in self.values():
            if kind.pool not in pools:
                raise ValueError(
                    f"job kind {kind.name} wants the pool {kind.pool!r}, which is not configured: "
                    f"add it to HEAVYLIFT_JOBS_POOLS (now {','.join(pools)})"
                )


def load_kinds() -> KindRegistry:
    """Load every installed kind; one that can't be loaded stops the process, naming its package.

    Raises `ConfigurationError`.
    """
    kinds = []
    for entry in entry_points(group=GROUP):
        kind = entry.load()
        if not isinstance(kind, JobKind):
            raise TypeError(f"entry point {entry.name} ({entry.value}) is not a @job_kind function")
        kinds.append(kind)
    try:
        return KindRegistry(kinds)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
