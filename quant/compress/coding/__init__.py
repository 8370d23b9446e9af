"""Huffman coding of weights, to a file that decodes."""

from .bwz import Saved, load_bwz, load_bwz_into, save_bwz

__all__ = ["Saved", "load_bwz", "load_bwz_into", "save_bwz"]
