"""MNIST: 70,000 handwritten digits, out of the file mnist.npz that Keras keeps."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from optml_queue.data import npz
from optml_queue.data.source import ArrayRows, Source
from optml_queue.errors import DataError

NAME = "mnist.npz"
_BRIGHTEST = 255
_DOWNLOAD_S = 300
# In a process of its own: Keras takes seconds to import and its memory is never given back.
_LOADER = """
import os, sys
os.environ["KERAS_HOME"] = sys.argv[1]
import keras
keras.datasets.mnist.load_data()
"""


def find(cache_dir: Path | None) -> Path:
    """The file in `cache_dir` or where Keras keeps it, else as Keras' loader downloads it.

    Raises DataError, saying where to put the file, when it cannot be had.
    """
    folders = [folder for folder in (cache_dir, Path.home() / ".keras" / "datasets") if folder]
    for folder in folders:
        if (folder / NAME).is_file():
            return folder / NAME
    target = folders[0] / NAME
    problem = _download(target)
    if problem:
        raise DataError(
            f"mnist: there is no {' and no '.join(str(folder / NAME) for folder in folders)}, and {problem}; "
            f"put {NAME} there, or name it: data: {{name: mnist, path: PATH or s3://bucket/key}}"
        )
    return target


def read(path: Path) -> Source:
    """The images, (60000, 784) and (10000, 784) brightness / 255, and the digits 0 to 9."""
    arrays = npz.read_arrays(path)
    if arrays.own_test is None:
        raise DataError(f"{path}: not {NAME}: it has x and y; its arrays are {', '.join(npz.WITH_TEST)}")
    for images in (arrays.inputs, arrays.own_test[0]):
        if images.dtype != "uint8":
            raise DataError(
                f"{path}: not {NAME}: pixels are uint8, got {images.dtype}; an npz of your own is npz: PATH"
            )
    inputs, targets = arrays.own_test
    return Source(ArrayRows(arrays.inputs, _BRIGHTEST), arrays.targets, (ArrayRows(inputs, _BRIGHTEST), targets))


def _download(target: Path) -> str:
    """Let Keras bring the file; returns why it could not, "" when it did."""
    if find_spec("keras") is None:
        return "Keras, which could download it, is not installed (the extra tensorflow)"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as home:
            command = [sys.executable, "-c", _LOADER, home]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False)  # noqa: S603
            if done.returncode:
                last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
                return f"Keras could not download it ({last[:200]})"
            (Path(home) / "datasets" / NAME).rename(target)
    except subprocess.TimeoutExpired:
        return f"Keras did not download it within {_DOWNLOAD_S} s"
    except OSError as error:
        return f"it cannot be kept in {target.parent} ({error.strerror or error})"
    return ""
