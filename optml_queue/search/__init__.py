"""Searchers: which points an experiment tries, computed from an index or suggested from what others found."""

from optml_queue.search.grid import GridSearch
from optml_queue.search.plan import Plan, PlannedTrial, Searcher, Segment, segments
from optml_queue.search.random_search import RandomSearch
from optml_queue.search.serial import SerialSearch

__all__ = ["GridSearch", "Plan", "PlannedTrial", "RandomSearch", "Searcher", "Segment", "SerialSearch", "segments"]
