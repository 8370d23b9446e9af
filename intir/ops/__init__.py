"""The operations of the IR, one class each; `OPS` maps their names to the classes."""

from .base import OPS, Op, Shape
from .decide import ArgMax, TopK
from .distance import L1Conv2d, L1MatMul
from .elementwise import Add, Clip, Mul, ScaleChannels, Sub
from .pool import GlobalSumPool, MaxPool2d, SumPool2d
from .products import Conv2d, MatMul
from .quantize import Lookup, Threshold
from .requant import Requant
from .shape import ChannelPermute, Concat, Pad, Reshape, Slice, Transpose, Upsample
from .transposed import ConvTranspose2d

__all__ = [
    "OPS", "Add", "ArgMax", "ChannelPermute", "Clip", "Concat", "Conv2d", "ConvTranspose2d", "GlobalSumPool", "L1Conv2d",
    "L1MatMul", "Lookup", "MatMul", "MaxPool2d", "Mul", "Op", "Pad", "Requant", "Reshape", "ScaleChannels", "Shape", "Slice",
    "Sub", "SumPool2d", "Threshold", "TopK", "Transpose", "Upsample",
]
