"""Imports every module that enters handlers into the tables.  A new one is added here."""

from . import (
    conv,
    decide,
    elementwise,
    fold,
    images,
    joins,
    moves,
    pools,
    products,
    qdq,
    quantizers,
    smooth,
    trunc,
)

__all__ = [
    "conv", "decide", "elementwise", "fold", "images", "joins", "moves", "pools", "products", "qdq", "quantizers", "smooth",
    "trunc",
]
