"""Tables: rows of numbers with a target each, in a training, a validation and a test part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # NumPy is imported when data are, not when a spec is read
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of a table; read only.

    `inputs` are (n, features) float32, C-contiguous. `targets` are (n,): int64 indices into the table's
    classes, or float64 where there are none.
    """

    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64] | npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A loaded table, the same object for every trial of a process, so that drivers may cache by it.

    `validation` may have no rows. `classes` are the names of the classes, () when the targets are numbers.
    `digest` is the SHA-256 of the file that the rows were read from.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    digest: str

    @property
    def rows(self) -> int:
        """The number of rows to train on."""
        return len(self.train)

    @property
    def features(self) -> int:
        """The number of inputs of a row."""
        return int(self.train.inputs.shape[1])
