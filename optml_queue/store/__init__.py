"""The store: experiments, trials and workers in Redis or Valkey."""

from optml_queue.store.experiment import Experiment, ExperimentState, Submission
from optml_queue.store.records import (
    Assignment,
    Backlog,
    Carried,
    Declined,
    NewTrial,
    Publication,
    Ran,
    RestoredTrial,
    ReusedResult,
    WorkerInfo,
)
from optml_queue.store.store import Store, is_experiment_id

__all__ = [
    "Assignment",
    "Backlog",
    "Carried",
    "Declined",
    "Experiment",
    "ExperimentState",
    "NewTrial",
    "Publication",
    "Ran",
    "RestoredTrial",
    "ReusedResult",
    "Store",
    "Submission",
    "WorkerInfo",
    "is_experiment_id",
]
