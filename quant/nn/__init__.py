"""Quantized networks in PyTorch: quantizers, layers, export to QONNX."""

from .abcnet import AbcConv2d, AbcInputs, AbcLinear, AbcQuant
from .adder import AdderConv2d, AdderLinear, scale_adder_gradients
from .base import Quantizer, straight_through
from .binary import BipolarQuant, bipolar
from .checks import QuantizationError
from .dorefa import DoReFaActivation, DoReFaSign, DoReFaWeight
from .export import ExportError, export_qonnx
from .fold import fold_before, fold_behind
from .horq import HorqConv2d, HorqLinear, HorqQuant
from .hwgq import HWGQ
from .layers import (
    BinaryLinear,
    QuantConv1d,
    QuantConv2d,
    QuantConvTranspose1d,
    QuantConvTranspose2d,
    QuantLinear,
    clip_latent_weights,
)
from .learned import LSQ, PACT, pact_penalty
from .memory import Bytes, MemoryUse, memory_use
from .observers import CalibrationError, Observer, fit_weight
from .poweroftwo import DynamicFixedPoint, PowerOfTwoQuant
from .pruning import GradualPruning, LayerDensity, cubic_density, density_report, finish_pruning, prune
from .ptq import quantize
from .shared import SharedQuant, share_weights
from .stochastic import StochasticQuant
from .ternary import TernaryQuant, TtqQuant, TwnQuant
from .uniform import IntQuant, UniformQuant
from .xnor import ScaledBipolarQuant, XnorConv2d, XnorLinear

__all__ = [
    "HWGQ", "LSQ", "PACT", "AbcConv2d", "AbcInputs", "AbcLinear", "AbcQuant", "AdderConv2d", "AdderLinear", "BinaryLinear",
    "BipolarQuant", "Bytes", "CalibrationError", "DoReFaActivation", "DoReFaSign", "DoReFaWeight", "DynamicFixedPoint",
    "ExportError", "GradualPruning", "HorqConv2d", "HorqLinear", "HorqQuant", "IntQuant", "LayerDensity", "MemoryUse", "Observer",
    "PowerOfTwoQuant", "QuantConv1d", "QuantConv2d", "QuantConvTranspose1d", "QuantConvTranspose2d", "QuantLinear",
    "QuantizationError", "Quantizer", "ScaledBipolarQuant", "SharedQuant", "StochasticQuant", "TernaryQuant", "TtqQuant",
    "TwnQuant", "UniformQuant", "XnorConv2d", "XnorLinear", "bipolar", "clip_latent_weights", "cubic_density", "density_report",
    "export_qonnx", "finish_pruning", "fit_weight", "fold_before", "fold_behind", "memory_use", "pact_penalty", "prune", "quantize",
    "scale_adder_gradients", "share_weights", "straight_through",
]
