"""LeNet-5 in float, with ReLU and max pools, and its two quantized forms."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import Tensor, nn

from examples.digits import load_weights
from quant.data import CLASSES
from quant.nn import quantize

HERE: Final = Path(__file__).resolve().parent
WEIGHTS: Final = HERE / "lenet.npz"
INT8: Final = HERE / "lenet_int8.onnx"
W4A4: Final = HERE / "lenet_w4a4.onnx"
#: Which integers stand for the float input.
INPUT: Final = "u8/255"
CALIBRATION_DIGITS: Final = 500


class LeNet(nn.Sequential):
    """Convolutions 6 and 16 of 5x5, each with ReLU and a 2x2 max pool, and layers 120-84-10.

    The first convolution pads by 2: LeNet-5's 32x32 input is a 28x28 digit with a margin.
    Input: float32, shape (N, 1, 28, 28), pixel / 255.  Output: logits, float32, shape (N, 10).
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),  # 6 x 14 x 14
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),  # 16 x 5 x 5
            nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES))


def trained(path: Path = WEIGHTS) -> LeNet:
    """The trained float network in evaluation mode, from a file that `save_weights` wrote."""
    return load_weights(LeNet(), path)


def int8(network: LeNet, images: Tensor) -> nn.Module:
    """Post-training quantization to 8 bits, calibrated on images (N, 1, 28, 28).

    One scale per layer, a power of two: behind the first layer, integers are brought to 8 bits by a shift.
    """
    return quantize(network, images[:1], images, per_channel=False, power_of_two=True, input_integers=INPUT)


def w4a4(network: LeNet, images: Tensor) -> nn.Module:
    """Every weight and activation in 4 bits (pixels keep their 8), with scales that are to be trained on."""
    return quantize(network, images[:1], images, weight_bits=4, activation_bits=4, first_last_bits=None, learn_scales=True,
                    input_integers=INPUT)
