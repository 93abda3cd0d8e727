"""A trial's state as a document: an npz file of its arrays, and JSON for all else. Nothing is pickled.

The JSON has a tag for every mapping, list and array in it, so that no key of the state can be taken for one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any
from zipfile import BadZipFile

import numpy as np

from optml_queue.errors import ArchiveError

_DOCUMENT = "document"
_PLAIN = (str, bool, int, float, type(None))


def encode_state(state: Mapping[str, Any]) -> bytes:
    """The document of a state. Raises TypeError, naming the place, for what is neither array nor JSON."""
    if not isinstance(state, Mapping):
        raise TypeError(f"checkpoint: the state must be a mapping, got {type(state).__name__}")
    arrays: list[np.ndarray[Any, Any]] = []
    document = json.dumps(_tagged(state, arrays, "state"))
    file = io.BytesIO()
    contents: dict[str, Any] = {str(index): array for index, array in enumerate(arrays)}
    contents[_DOCUMENT] = np.frombuffer(document.encode(), dtype=np.uint8)
    np.savez(file, **contents)
    return file.getvalue()


def decode_state(document: bytes) -> dict[str, Any]:
    """The state that a document holds. Raises ArchiveError when it holds none."""
    try:
        with np.load(io.BytesIO(document), allow_pickle=False) as file:
            state = _untagged(json.loads(file[_DOCUMENT].tobytes()), file)
    except (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RuntimeError, BadZipFile) as error:
        raise ArchiveError(f"not a checkpoint: {error}") from error
    if not isinstance(state, dict):
        raise ArchiveError("not a checkpoint: it holds no mapping")
    return state


def _tagged(value: Any, arrays: list[np.ndarray[Any, Any]], place: str) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"checkpoint: {place} has the key {key!r}; keys must be text")
        return {"mapping": {key: _tagged(item, arrays, f"{place}[{key!r}]") for key, item in value.items()}}
    if isinstance(value, list | tuple):
        return {"list": [_tagged(item, arrays, f"{place}[{index}]") for index, item in enumerate(value)]}
    return {"array": _entered(value, arrays, place)}


def _entered(value: Any, arrays: list[np.ndarray[Any, Any]], place: str) -> int:
    array = np.asarray(value) if hasattr(value, "__array__") else None
    if array is None or array.dtype.hasobject:
        kind = type(value).__name__
        raise TypeError(f"checkpoint: {place} is {kind}, neither an array of numbers nor a JSON value")
    arrays.append(array)
    return len(arrays) - 1


def _untagged(value: Any, arrays: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "mapping":
        return {key: _untagged(item, arrays) for key, item in content.items()}
    if tag == "list":
        return [_untagged(item, arrays) for item in content]
    return arrays[str(content)]
