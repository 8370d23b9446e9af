"""Binary convolutions on packed bits equal the same convolutions by BLAS, whatever the shape."""

import numpy as np
import pytest

from intir import BIPOLAR, Conv2d, GraphBuilder, Threshold, run
from intir.ops import binary

CASES = {
    "one word": ((6, 7, 64), (3, 3), {}),
    "a word and a bit": ((5, 6, 65), (3, 3), {}),
    "few channels": ((7, 5, 3), (2, 3), {}),
    "three words, 1 x 1": ((4, 4, 130), (1, 1), {}),
    "stride and dilation": ((9, 10, 17), (2, 3), {"stride": (2, 1), "dilation": (1, 2)}),
    "padded with -1": ((5, 5, 40), (3, 3), {"pads": (1, 2, 0, 1), "pad_value": -1}),
    "padded with +1": ((5, 5, 40), (3, 3), {"pads": (1, 1, 1, 1), "pad_value": 1}),
}


@pytest.mark.parametrize("fused", [False, True], ids=["sums", "thresholds"])
@pytest.mark.parametrize("case", CASES)
def test_packed_bits_equal_blas(case: str, fused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, kernel, options = CASES[case]
    rng = np.random.default_rng(7)
    build = GraphBuilder("binary")
    x = build.input("x", shape, BIPOLAR)
    y = build.node(Conv2d(rng.choice([-1, 1], (*kernel, shape[2], 19)), **options), x)
    if fused:
        y = build.node(Threshold(rng.integers(-9, 9, (19, 1)), BIPOLAR), y)
    build.output(y)
    graph = build.build()
    images = rng.choice([-1, 1], (5, *shape))
    by_blas = run(graph, images)
    taken = []
    packed = binary.convolve
    monkeypatch.setattr(binary, "LEAST_WORK", 0)
    monkeypatch.setattr(binary, "convolve", lambda *arguments: taken.append(1) or packed(*arguments))
    by_bits = run(graph, images)
    assert taken, "the packed path was not taken"
    assert np.array_equal(by_bits, by_blas)


def test_zero_padding_is_not_binary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero is no level of a bipolar input: such a convolution must not count bits."""
    monkeypatch.setattr(binary, "LEAST_WORK", 0)
    monkeypatch.setattr(binary, "convolve", lambda *arguments: pytest.fail("counted bits of a ternary input"))
    build = GraphBuilder("padded")
    x = build.input("x", (3, 3, 2), BIPOLAR)
    build.output(build.node(Conv2d(np.ones((3, 3, 2, 1), np.int64), pads=(1, 1, 1, 1)), x))
    graph = build.build()
    assert run(graph, np.ones((1, 3, 3, 2), np.int64))[0, 0, 0, 0] == 8


def test_ternary_weights_are_not_binary() -> None:
    assert not binary.pays(BIPOLAR, np.array([[1], [0]]), 10**12)
