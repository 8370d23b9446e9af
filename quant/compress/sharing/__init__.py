"""Fewer numbers for the same weights: codebooks, hashes, circulant blocks, and fitting such codes to data."""

from .circulant import make_circulant
from .codes import LayerSharing, finish_sharing, sharing_report
from .datafit import fit_to_data
from .hashed import hash_weights
from .productquant import product_quantize

__all__ = ["LayerSharing", "finish_sharing", "fit_to_data", "hash_weights", "make_circulant", "product_quantize", "sharing_report"]
