"""Images of MNIST's shape that anybody may make, for benchmarks and tests that must not need the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt


def write_mnist_shaped(path: Path, train: int = 60_000, test: int = 10_000, seed: int = 0) -> Path:
    """Write an npz file that is to MNIST what a dummy is to a driver; the path.

    Images of 28 × 28 uint8 pixels, a fifth of them not black, in ten classes that a network can tell apart: each
    class has four strokes of its own, which every image shows displaced by up to four pixels, with noise.
    """
    rng = np.random.default_rng(seed)
    strokes = _strokes(np.random.default_rng(1))
    x_train, y_train = _images(strokes, train, rng)
    x_test, y_test = _images(strokes, test, rng)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def _images(
    strokes: npt.NDArray[np.float64], rows: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    labels = rng.integers(0, 10, rows).astype(np.uint8)
    images = np.empty((rows, 28, 28), dtype=np.uint8)
    pixels = np.arange(28)
    for start in range(0, rows, 4_096):
        some = labels[start : start + 4_096]
        down, right = rng.integers(0, 9, (2, len(some), 1))
        lines, columns = (down + pixels)[:, :, None], (right + pixels)[:, None, :]
        noise = rng.normal(1.0, 0.25, (len(some), 28, 28))
        images[start : start + 4_096] = np.clip(strokes[some[:, None, None], lines, columns] * noise, 0, 255)
    return images, labels


def _strokes(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The ten classes' images, (10, 36, 36) brightness with a margin to be displaced by."""
    images = np.zeros((10, 36, 36))
    down, right = np.mgrid[0:36, 0:36]
    for image in images:
        for (top, left), angle in zip(rng.uniform(11, 25, (4, 2)), rng.uniform(0, np.pi, 4), strict=True):
            across = (down - top) * np.cos(angle) - (right - left) * np.sin(angle)
            along = (down - top) * np.sin(angle) + (right - left) * np.cos(angle)
            stroke = 255 * np.exp(-((across / 1.3) ** 2) - (along / 6) ** 4)
            np.maximum(image, np.where(stroke > 20, stroke, 0), out=image)
    return images
