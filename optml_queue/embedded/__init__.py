"""The queue without a cluster: a local server and local workers, shared by all who work in one results folder."""

from optml_queue.embedded.session import Session, down, is_running, join, status, up

__all__ = ["Session", "down", "is_running", "join", "status", "up"]
