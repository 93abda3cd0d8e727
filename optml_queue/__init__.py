"""OptML Queue: hyper-parameter optimisation in which every point is one task of a queue."""

__version__ = "0.1.0"
