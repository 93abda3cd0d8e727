"""The page: HTML that the server writes, with a little CSS and JavaScript of its own. Reading works without the latter.

It has no rules of its own: what it shows and does goes through the functions of the API's routes.
"""

from optml_queue.api.page.routes import add_page

__all__ = ["add_page"]
