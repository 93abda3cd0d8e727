"""Searchers: which points an experiment tries, each computed from its index."""

from optml_queue.search.grid import GridSearch
from optml_queue.search.plan import Plan, PlannedTrial, Searcher, Segment, segments
from optml_queue.search.random_search import RandomSearch

__all__ = ["GridSearch", "Plan", "PlannedTrial", "RandomSearch", "Searcher", "Segment", "segments"]
