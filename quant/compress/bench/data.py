"""Samples to compress with: the demo digits, or a user's own from a `.npz` file."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quant.data import mnist_digits

from ..errors import CompressionError
from ..training import as_input

#: What a file must hold.
ARRAYS: Final = ("train_images", "train_labels", "test_images", "test_labels")
#: Fewer train nothing.
LEAST_SAMPLES: Final = 20
#: Samples that activations are calibrated on.
CALIBRATION_SAMPLES: Final = 500
MAX_BYTES: Final = 1 << 32


@dataclass(frozen=True, eq=False)
class Data:
    """Samples to train on and to test on.

    Members
    -------
    name
        For people.
    train_images, test_images : uint8 or float32, shape (N, ...)
        uint8 pixels reach a network divided by 255, floats as they are.
    train_labels, test_labels : int64, shape (N,)
        Classes from 0.
    distorted
        Whether training distorts images: right for digits, maybe wrong for others.
    """

    name: str
    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    distorted: bool = False

    @property
    def classes(self) -> int:
        """One more than the greatest label."""
        return 1 + int(max(self.train_labels.max(), self.test_labels.max()))

    @property
    def input_integers(self) -> str | None:
        """Which integers stand for a network's input, as `bitwright lower --input`; None for floats, which get a quantizer."""
        return "u8/255" if self.train_images.dtype == np.uint8 else None

    @property
    def calibration(self) -> Tensor:
        """The first training samples, as the network takes them."""
        return torch.from_numpy(as_input(self.train_images[:CALIBRATION_SAMPLES]))

    @property
    def fingerprint(self) -> str:
        """Tells other samples apart."""
        seen = hashlib.sha256()
        for name in ARRAYS:
            array = np.ascontiguousarray(getattr(self, name))
            seen.update(f"{name} {array.dtype} {array.shape} ".encode())
            seen.update(array.tobytes())
        return seen.hexdigest()[:12]


def digits() -> Data:
    """The 5,000 demo digits.  Raises DemoDataError."""
    found = mnist_digits()
    return Data("digits", found.train_images, found.train_labels, found.test_images, found.test_labels, distorted=True)


def load(path: str | Path) -> Data:
    """Read a `.npz` file with `ARRAYS`: images (N, ...) of uint8 or floats, labels (N,) of integers from 0.

    Raises
    ------
    CompressionError
        The file isn't there or isn't such a file, an array is missing or has another shape, or values are out of range.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as file:
            claimed = sum(one.file_size for one in file.infolist())
        if claimed > MAX_BYTES:
            raise CompressionError(f"'{path}' unpacks to {claimed:,} bytes, more than {MAX_BYTES:,}: give fewer samples")
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ARRAYS if name not in file.files]
            if missing:
                raise CompressionError(f"'{path}' has no array {missing[0]}: write it with numpy.savez(path, "
                                       f"{', '.join(f'{name}=...' for name in ARRAYS)})")
            arrays = {name: file[name] for name in ARRAYS}
            broken = [name for name, one in arrays.items() if not isinstance(one, np.ndarray)]  # bytes, of what is no array
            if broken:
                raise CompressionError(f"'{path}': {broken[0]} is no array of numpy: write the file with numpy.savez")
    except FileNotFoundError:
        raise CompressionError(f"'{path}' does not exist: give the path of a .npz file with {', '.join(ARRAYS)}") from None
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise CompressionError(f"'{path}' is no readable .npz file ({reason}): write it with numpy.savez, no objects") from None
    for part in ("train", "test"):
        _check_part(path, part, arrays[f"{part}_images"], arrays[f"{part}_labels"])
    if len(arrays["train_images"]) < LEAST_SAMPLES:
        raise CompressionError(f"'{path}' has {len(arrays['train_images'])} train_images: give {LEAST_SAMPLES} or more to retrain "
                               "with")
    shapes = [arrays[f"{part}_images"].shape[1:] for part in ("train", "test")]
    kinds = [arrays[f"{part}_images"].dtype == np.uint8 for part in ("train", "test")]
    if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
        raise CompressionError(f"'{path}': train_images are {arrays['train_images'].dtype} of shape {shapes[0]} each, test_images "
                               f"{arrays['test_images'].dtype} of shape {shapes[1]}: both must be alike")
    images = {part: one if one.dtype == np.uint8 else _as_float32(one) for part in ("train", "test")
              for one in (arrays[f"{part}_images"],)}
    return Data(path.stem, images["train"], arrays["train_labels"].astype(np.int64), images["test"],
                arrays["test_labels"].astype(np.int64))


def _as_float32(images: NDArray[Any]) -> NDArray[np.float32]:
    """What doesn't fit becomes infinite."""
    with np.errstate(over="ignore"):
        return images.astype(np.float32, copy=False)


def _check_part(path: Path, part: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
    if images.ndim < 2 or not images.size:
        raise CompressionError(f"'{path}': {part}_images have shape {images.shape}; give at least one sample, (N, ...)")
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise CompressionError(f"'{path}': {part}_images are {images.dtype}; give uint8 pixels, or floats")
    if images.dtype.kind == "f" and not np.isfinite(_as_float32(images)).all():
        raise CompressionError(f"'{path}': {part}_images hold numbers that aren't finite, as float32; leave those samples out")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise CompressionError(f"'{path}': {part}_labels are {labels.dtype} of shape {labels.shape}; give one whole number for "
                               f"each of the {len(images):,} images")
    if labels.min() < 0 or labels.max() > 10**6:
        raise CompressionError(f"'{path}': {part}_labels hold {int(labels.min() if labels.min() < 0 else labels.max())}; number "
                               "the classes from 0")
