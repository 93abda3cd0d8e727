"""The digits: 1,797 handwritten digits, out of the files of scikit-learn."""

from __future__ import annotations

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from optml_queue.data.source import ArrayRows, Source
from optml_queue.errors import DataError

_PIXELS = 64
_BRIGHTEST = 16


def find() -> Path:
    """The file, which scikit-learn brings along. Raises DataError when it is not installed."""
    # Importing the package would take a second; the file is all that is needed of it.
    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations if package else None) or ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path
    if package:
        raise DataError("digits: the scikit-learn that is installed has no digits.csv.gz; install it again")
    raise DataError(
        "digits: the data come with scikit-learn, which is not installed; "
        "install the extra sklearn: pip install 'optml-queue[sklearn]'"
    )


def read(path: Path) -> Source:
    """The images, (1797, 64) brightness / 16, and the digits 0 to 9."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            values = np.array([line.split(",") for line in file], dtype=np.uint8)
    except (OSError, ValueError, OverflowError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not the digits of scikit-learn: {error}") from error
    if values.ndim != 2 or values.shape[1] != _PIXELS + 1:
        raise DataError(f"{path}: not the digits of scikit-learn: rows of {values.shape[-1]} fields, not 65")
    return Source(ArrayRows(values[:, :_PIXELS], _BRIGHTEST), values[:, _PIXELS])
