"""The integer-only IR: types, operations, graph, exact ranges, reference executor, file format."""

from .errors import BitwrightError, FileFormatError, GraphError
from .file import load, save
from .graph import Affine, Graph, GraphBuilder, HostStep, Interface, Node, Value
from .ops import (
    OPS,
    Add,
    ArgMax,
    ChannelPermute,
    Clip,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalSumPool,
    L1Conv2d,
    L1MatMul,
    Lookup,
    MatMul,
    MaxPool2d,
    Mul,
    Op,
    Pad,
    Requant,
    Reshape,
    ScaleChannels,
    Slice,
    Sub,
    SumPool2d,
    Threshold,
    TopK,
    Transpose,
    Upsample,
)
from .ranges import Range
from .reference import run, run_all, to_real, to_source
from .types import BIPOLAR, TERNARY, IntType, signed, unsigned
from .verify import proven_ranges, verify

__all__ = [
    "BIPOLAR", "OPS", "TERNARY", "Add", "Affine", "ArgMax", "BitwrightError", "ChannelPermute", "Clip", "Concat", "Conv2d",
    "ConvTranspose2d", "FileFormatError", "GlobalSumPool", "Graph", "GraphBuilder", "GraphError", "HostStep", "IntType",
    "Interface", "L1Conv2d", "L1MatMul", "Lookup", "MatMul", "MaxPool2d", "Mul", "Node", "Op", "Pad", "Range", "Requant",
    "Reshape", "ScaleChannels", "Slice", "Sub", "SumPool2d", "Threshold", "TopK", "Transpose", "Upsample", "Value", "load",
    "proven_ranges", "run", "run_all", "save", "signed", "to_real", "to_source", "unsigned", "verify",
]
