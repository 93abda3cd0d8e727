"""Checkpoints: what goes in comes out, and nothing is pickled."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optml_queue.checkpoint import decode_state, encode_state
from optml_queue.errors import ArchiveError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_values_come_back(state: dict[str, Any]) -> None:
    assert decode_state(encode_state(state)) == state


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.array([], dtype=np.float32),
        np.array(1 + 2j),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.float32(0.1),
    ],
)
def test_arrays_come_back_bit_for_bit(array: Any) -> None:
    back = decode_state(encode_state({"deep": [{"array": array, "mapping": {}}]}))["deep"][0]["array"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_names_of_its_own_are_names_like_others() -> None:
    state = {"array": 0, "document": {"array": 1, "list": [], "mapping": "x"}, "0": np.zeros(1)}
    back = decode_state(encode_state(state))
    assert back.pop("0").tolist() == [0.0]
    assert back == {"array": 0, "document": {"array": 1, "list": [], "mapping": "x"}}


def test_what_other_libraries_make_arrays_of_is_kept() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
            return np.ones(2)

    assert decode_state(encode_state({"weights": (Tensor(), 1)}))["weights"][0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"model": {"layer": object()}}, r"state\['model'\]\['layer'\] is object, neither an array of numbers"),
        ({"list": [1, {2}]}, r"state\['list'\]\[1\] is set"),
        ({"objects": np.array([object()])}, r"state\['objects'\] is ndarray"),
        ({"a": {1: 2}}, r"state\['a'\] has the key 1; keys must be text"),
        ([1], "the state must be a mapping, got list"),
    ],
)
def test_what_cannot_be_kept_is_told_with_its_place(state: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        encode_state(state)


@given(st.data())
def test_a_damaged_document_is_told_or_whole(data: st.DataObject) -> None:
    state = {"epoch": 3, "weights": np.arange(20.0), "slots": [[np.ones(2)], []]}
    whole = encode_state(state)
    damaged = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    try:
        found = decode_state(bytes(damaged))
    except ArchiveError:
        return
    assert encode_state(found) == whole


def test_a_document_that_is_none_is_told() -> None:
    whole = encode_state({"weights": np.arange(1000.0)})
    pickled = io.BytesIO()
    np.savez(pickled, document=np.array([{"evil": 1}], dtype=object))
    for document in (b"", b"junk", whole[:500], pickled.getvalue()):
        with pytest.raises(ArchiveError, match="not a checkpoint"):
            decode_state(document)
