"""The REST API: what the command line can do, for programs, and for a page."""

from optml_queue.api.app import create_app

__all__ = ["create_app"]
