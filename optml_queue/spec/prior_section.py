"""What a spec takes over from earlier experiments: `start_from` and `reuse`.

start_from: lms-k3f9a          or [lms-k3f9a, latest]
reuse: true
"""

from __future__ import annotations

from optml_queue.spec.code import Code
from optml_queue.spec.command import Command
from optml_queue.spec.document import Node
from optml_queue.spec.method_section import LEARNING
from optml_queue.spec.prior import Reuse, StartFrom
from optml_queue.spec.search import Search
from optml_queue.spec.section import Section

_MAX_SOURCES = 100


def read_start_from(root: Section, search: Search | None) -> StartFrom | None:
    """The experiments to start from; None where there are none, or with a problem noted."""
    node = root.get("start_from")
    if node is None:
        return None
    items = root.items("start_from") if isinstance(node.value, list) else [(root.key("start_from"), node)]
    named = [_named(root, key, item) for key, item in items]
    if not items and node.value == []:
        root.problem("start_from", "is empty", "name an experiment, or leave the key out")
    if len(items) > _MAX_SOURCES:
        root.problem("start_from", f"has {len(items)} experiments, more than {_MAX_SOURCES}")
    if search is not None and not any(stage.method in LEARNING for stage in search.course):
        message = f"is for a search that learns, and {search.method} does not"
        root.problem("start_from", message, "choose another method (tpe …), or take results over with reuse: true")
    return StartFrom(tuple(dict.fromkeys(filter(None, named))))


def _named(root: Section, key: str, item: Node) -> str:
    if isinstance(item.value, str) and item.value:
        return item.value
    root.report.add(item, key, f"must be an experiment's id, or latest, got {item}", "as in start_from: lms-k3f9a")
    return ""


def read_reuse(root: Section, code: Code | None) -> Reuse | None:
    """The wish to take results over; None where there is none."""
    if not root.flag("reuse"):
        return None
    if isinstance(code, Command) and not code.files:
        message = "cannot tell whether this command is the same as before: it has no files"
        root.problem("reuse", message, "name the script or folder that it runs as files, or leave reuse out")
    return Reuse()
