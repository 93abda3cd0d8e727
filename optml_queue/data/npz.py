"""Tables out of NumPy's .npz files."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optml_queue.data.file import unreadable
from optml_queue.data.source import CHUNK_ROWS, ArrayRows, Source
from optml_queue.errors import DataError

WITH_TEST = ("x_train", "y_train", "x_test", "y_test")
WITHOUT_TEST = ("x", "y")

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Arrays:
    """The arrays of a file: inputs (n, …) numbers, targets (n,) numbers or text."""

    inputs: Array
    targets: Array
    own_test: tuple[Array, Array] | None


def read(path: Path) -> Source:
    """The rows of a file. Raises DataError, naming file, array and value, for what cannot be used."""
    arrays = read_arrays(path)
    rows = ArrayRows(arrays.inputs)
    if arrays.own_test is None:
        return Source(rows, arrays.targets)
    inputs, targets = arrays.own_test
    return Source(rows, arrays.targets, (ArrayRows(inputs), targets))


def read_arrays(path: Path) -> Arrays:
    """The arrays of a file, checked. Raises DataError."""
    try:
        with path.open("rb") as content:  # NumPy leaves a file open that it cannot read
            file = np.load(content, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: holds a single array; save several with numpy.savez: {_LAYOUT}")
            with file:
                return _arrays(path, file)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError) as error:
        raise DataError(f"{path}: not an npz file of plain arrays: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


_LAYOUT = f"{', '.join(WITH_TEST)} or {', '.join(WITHOUT_TEST)}"


def _arrays(path: Path, file: Any) -> Arrays:
    names = WITH_TEST if "x_train" in file.files else WITHOUT_TEST
    missing = [name for name in names if name not in file.files]
    if missing:
        found = ", ".join(file.files) or "nothing"
        raise DataError(f"{path}: has no {' and no '.join(missing)}; the arrays are {_LAYOUT}, and it has {found}")
    inputs, targets = _part(path, file, *names[:2])
    if names == WITHOUT_TEST:
        return Arrays(inputs, targets, None)
    own_test = _part(path, file, *names[2:])
    if own_test[0].shape[1:] != inputs.shape[1:]:
        raise DataError(
            f"{path}: a row of x_train has the shape {inputs.shape[1:]}, one of x_test {own_test[0].shape[1:]}"
        )
    if (own_test[1].dtype.kind == "U") != (targets.dtype.kind == "U"):
        raise DataError(
            f"{path}: y_train is {targets.dtype}, y_test {own_test[1].dtype}; both must be text, or neither"
        )
    return Arrays(inputs, targets, own_test)


def _part(path: Path, file: Any, inputs_name: str, targets_name: str) -> tuple[Array, Array]:
    inputs, targets = file[inputs_name], file[targets_name]
    if inputs.ndim < 1 or not len(inputs) or not inputs[0].size:
        raise DataError(f"{path}: {inputs_name} is empty: its shape is {inputs.shape}")
    if inputs.dtype.kind not in "biuf":
        raise DataError(f"{path}: {inputs_name} must be real numbers, got {inputs.dtype}")
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1 or len(targets) != len(inputs):
        raise DataError(
            f"{path}: {targets_name} must hold one value for each of the {len(inputs)} rows of {inputs_name}, "
            f"got the shape {targets.shape}"
        )
    _check_finite(path, inputs_name, inputs)
    return inputs, _plain_targets(path, targets_name, targets)


def _plain_targets(path: Path, name: str, targets: Array) -> Array:
    if targets.dtype.kind == "S":
        return np.char.decode(targets, "utf-8")
    if targets.dtype.kind == "b":
        return targets.astype(np.int64)
    if targets.dtype.kind not in "iufU":
        raise DataError(f"{path}: {name} must be numbers or text, got {targets.dtype}")
    if targets.dtype.kind == "f":
        _check_finite(path, name, targets)
    return targets


def _check_finite(path: Path, name: str, values: Array) -> None:
    """Raises DataError at the first value that is not a finite number of single precision."""
    if values.dtype.kind != "f":
        return
    for start in range(0, len(values), CHUNK_ROWS):
        with np.errstate(over="ignore"):
            finite = np.isfinite(values[start : start + CHUNK_ROWS].astype(np.float32))
        if not finite.all():
            place = np.argwhere(~finite)[0]
            place[0] += start
            value = values[tuple(place)]
            rule = "too large for single precision" if np.isfinite(value) else "not a finite number"
            raise DataError(f"{path}: {name}[{', '.join(map(str, place))}] is {value}, {rule}")
