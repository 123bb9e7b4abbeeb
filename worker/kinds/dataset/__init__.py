"""`dataset.aggregate`: filter, group and aggregate tables, by a typed specification."""

from worker.kinds.dataset.kind import aggregate
from worker.kinds.dataset.result import DatasetAggregated
from worker.kinds.dataset.spec import DatasetAggregate

__all__ = ["DatasetAggregate", "DatasetAggregated", "aggregate"]
