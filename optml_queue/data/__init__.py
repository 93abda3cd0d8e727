"""Data sets: what a spec's `data:` names, read once per process and shared, read only, by its trials.

Series (a `Series`):

    sunspots   monthly mean sunspot numbers 1749–1983, shipped with the package (datasets/README.md)
    channel    a nonlinear channel driven by Gaussian noise; options `samples` (10,000) and `seed` (0)
    csv        one column of the user's file; options `path` and `column` (0-based number, or a header's name)

Tables (a `Table`: inputs and a target in every row, split into training, validation and test part):

    digits     1,797 images of 8 × 8 pixels of handwritten digits, out of scikit-learn's files; pixels / 16
    mnist      70,000 images of 28 × 28 pixels of handwritten digits, out of mnist.npz; pixels / 255
    npz        the user's arrays: x_train, y_train, x_test, y_test, or x and y
    table      the user's CSV file: number and text columns, one of them the target
"""

from optml_queue.data.dataspec import (
    CHANNEL_SAMPLES,
    KINDS,
    MIN_ROWS,
    SERIES,
    SHIPPED,
    TABLES,
    TASKS,
    TEST_FRACTION,
    DataSpec,
)
from optml_queue.data.file import file_digest
from optml_queue.data.loading import DataSet, Fetch, find_file, load
from optml_queue.data.series import Series, channel, read_csv_column
from optml_queue.data.table import Split, Table

__all__ = [
    "CHANNEL_SAMPLES",
    "KINDS",
    "MIN_ROWS",
    "SERIES",
    "SHIPPED",
    "TABLES",
    "TASKS",
    "TEST_FRACTION",
    "DataSet",
    "DataSpec",
    "Fetch",
    "Series",
    "Split",
    "Table",
    "channel",
    "file_digest",
    "find_file",
    "load",
    "read_csv_column",
]
