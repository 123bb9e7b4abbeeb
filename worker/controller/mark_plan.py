"""Which pods to look at next, and what their marks should say: a plan, with access to nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

# Of a ReplicaSet that shrinks, the pods with the lowest cost go first.
# https://kubernetes.io/docs/reference/labels-annotations-taints/#pod-deletion-cost
COST = "controller.kubernetes.io/pod-deletion-cost"

# Seconds between two looks at one pod, and so between two writes: jobs come and go faster, and
# each write is one of the cluster's own database, told to all who watch its pods.
SPACING = 10.0

# Seconds until marks that were right are looked at again: other controllers write them too, and so
# may people.
RECHECK = 300.0


@dataclass(frozen=True, slots=True)
class Look:
    """The last one at a pod."""

    at: float
    busy: int | None
    """The slots that its marks then spoke of; None where that is not known."""


def marks(busy: int) -> dict[str, str | None]:
    """A pod's annotations; None is one that it should not have."""
    return {
        COST: str(busy),
        # Nodes are emptied by two more, which ask for no cost: Karpenter and Cluster Autoscaler.
        "karpenter.sh/do-not-disrupt": "true" if busy else None,
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false" if busy else None,
    }


def to_look_at(
    busy: Mapping[str, int], looks: Mapping[str, Look], *, now: float, limit: int
) -> list[str]:
    """The pods whose marks may be wrong, no more than `limit`; those first that may cost a job.

    `busy` has the slots with a job of every live worker, by pod, `looks` what is known of them.
    """

    def due(pod: str) -> bool:
        look = looks.get(pod)
        if look is None:
            return True
        return now - look.at >= (SPACING if look.busy != busy[pod] else RECHECK)

    def order(pod: str) -> tuple[bool, float]:
        look = looks.get(pod)
        seems_idle = look is None or not look.busy
        return not (busy[pod] and seems_idle), look.at if look else float("-inf")

    return sorted(filter(due, busy), key=order)[:limit]
