"""What an experiment's spec may be extended by: more values, points, seeds and trials, and other limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from optml_queue.errors import InputError
from optml_queue.spec.spec import Spec

_FIXED = ("name", "method", "seed", "metric", "metrics", "constraints", "resources")


def extended(old: Spec, new: Spec, next_number: int) -> Spec:
    """The spec of an experiment of which the trials below `next_number` exist, and that is to go on as `new` says.

    It has the searches of `old` as earlier ones; where only max_trials differs, the same search goes on. Raises
    InputError for a key whose change would make other trials of those that there are.
    """
    for key, message in _differences(old, new):
        raise InputError(f"{key}: {message}; an extension cannot change it, submit another experiment")
    new = replace(new, code=old.code, data=old.data, start_from=old.start_from)
    if replace(new.search, max_trials=old.max_trials) == old.search:
        return replace(new, earlier=old.earlier)
    ended = replace(old.search, until=next_number)
    if next_number == (old.earlier[-1].until if old.earlier else 0):
        return replace(new, earlier=old.earlier)  # nothing of the last search was begun
    return replace(new, earlier=(*old.earlier, ended))


def _differences(old: Spec, new: Spec) -> Iterator[tuple[str, str]]:
    was, is_ = old.to_dict(), new.to_dict()
    for key in _FIXED:
        if was.get(key) != is_.get(key):
            yield key, f"is {_shown(was.get(key))}, not {_shown(is_.get(key))}"
    if _trained(old) != _trained(new):
        key = old.code.kind
        same = new.code.kind == key and old.code.keys()[key] == new.code.keys()[key]
        yield key, "its files have changed since" if same else f"is {_shown(was[key])}, not {_shown(is_.get(key))}"
    if (old.data and old.data.content_key) != (new.data and new.data.content_key):
        same = was.get("data") == is_.get("data")
        yield (
            "data",
            "the file has changed since" if same else f"is {_shown(was.get('data'))}, not {_shown(is_.get('data'))}",
        )
    names, others = list(was["parameters"]), list(is_["parameters"])
    for name in (*names, *others):
        if (name in names) != (name in others):
            yield f"parameters.{name}", "all trials have it" if name in names else "the trials so far do not have it"
    if not _is_same_start(old, new):
        yield "start_from", f"is {_shown(was.get('start_from'))}, not {_shown(is_.get('start_from'))}"
    if new.earlier and new.earlier != old.earlier:
        yield "earlier", "tells of other trials than there are"


def _is_same_start(old: Spec, new: Spec) -> bool:
    if old.start_from is None or new.start_from is None:
        return old.start_from is new.start_from
    return old.start_from.is_same(new.start_from)


def _trained(spec: Spec) -> dict[str, Any]:
    """What the code is, but for where its files lie."""
    fields = spec.code.to_dict()
    return {key: value for key, value in fields.items() if not (fields.get("digest") and key in ("path", "files"))}


def _shown(value: object) -> str:
    return "left out" if value is None else repr(value)
