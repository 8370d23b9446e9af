"""Quantized networks in PyTorch: quantizers, layers, export to QONNX."""

from .base import Quantizer, straight_through
from .binary import BipolarQuant, bipolar
from .export import ExportError, export_qonnx
from .layers import BinaryLinear, QuantConv2d, QuantLinear, clip_latent_weights
from .uniform import IntQuant

__all__ = ["BinaryLinear", "BipolarQuant", "ExportError", "IntQuant", "QuantConv2d", "QuantLinear", "Quantizer", "bipolar",
           "clip_latent_weights", "export_qonnx", "straight_through"]
