"""Marks the workers' pods in Kubernetes by what the ledger says they do: idle ones go first.

It is a hint to whoever scales in: a job that goes with its pod anyway is put back. Any number of
controllers mark side by side, since each writes only what it finds different.
"""

import ssl
import time
from collections.abc import Callable, Sequence

import structlog
from httpx2 import HTTPStatusError, HTTPTransport, Timeout
from lightkube import Client, KubeConfig
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError
from lightkube.resources.core_v1 import Pod
from lightkube.types import PatchType
from sqlalchemy import Engine

from app.services import demand
from worker.controller.mark_plan import Look, marks, to_look_at

log = structlog.get_logger()

# Seconds between turns.
INTERVAL = 2.0

# Pods that one turn looks at, with two requests each at most.
PODS = 20

# Seconds that one answer may take: less than a controller has to end in.
TIMEOUT = 2.0


def connect() -> Client:
    """As the pod's service account, in its namespace; outside of a cluster as KUBECONFIG says.

    Raises whatever is wrong with that.
    """
    config = KubeConfig.from_env().get()
    if config is None:
        raise ConfigError("no cluster is named")
    trusted = verify_cluster(config.cluster, config.user or User(), config.abs_file)
    # Python 3.13 asks of an authority's certificate what those of many clusters do not say, and
    # clients in Go do not ask: https://docs.python.org/3/whatsnew/3.13.html#ssl
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return Client(
        config,
        timeout=Timeout(TIMEOUT),
        field_manager="heavylift-controller",
        transport=HTTPTransport(verify=trusted),
    )


class Mark:
    def __init__(
        self,
        engine: Engine,
        client: Client,
        pools: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._client = client
        self._pools = pools
        self._clock = clock
        self._looks: dict[str, Look] = {}
        self._forbidden = False

    def turn(self) -> None:
        """Raises whatever keeps the API server from answering: the loop comes again."""
        if self._forbidden:
            return
        with self._engine.begin() as connection:
            busy = demand.busy_hosts(connection, self._pools)
        self._looks = {pod: look for pod, look in self._looks.items() if pod in busy}
        for pod in to_look_at(busy, self._looks, now=self._clock(), limit=PODS):
            # Known only afterwards: one that fails waits for its next turn, and holds up no other.
            self._looks[pod] = Look(self._clock(), None)
            try:
                self._mark(pod, marks(busy[pod]))
            except HTTPStatusError as error:
                if error.response.status_code == 403:
                    log.warning("pods are not marked any more", error=str(error))
                    self._forbidden = True
                    return
                # 404: it went before its worker's lease did, or the worker runs in no pod of ours.
                if error.response.status_code != 404:
                    raise
            else:
                self._looks[pod] = Look(self._clock(), busy[pod])

    def _mark(self, pod: str, wanted: dict[str, str | None]) -> None:
        metadata = self._client.get(Pod, pod).metadata
        found = (metadata and metadata.annotations) or {}
        wrong = {name: value for name, value in wanted.items() if found.get(name) != value}
        if wrong:
            patch = {"metadata": {"annotations": wrong}}
            self._client.patch(Pod, pod, patch, patch_type=PatchType.MERGE)
