"""Imports every module that enters handlers into the tables.  A new one is added here."""

from . import (
    conv,
    curves,
    decide,
    elementwise,
    fold,
    images,
    joins,
    moves,
    pools,
    products,
    qdq,
    qfloat,
    qjoins,
    qlinear,
    quantizers,
    reductions,
    rounding,
    smooth,
    trunc,
)

__all__ = [
    "conv", "curves", "decide", "elementwise", "fold", "images", "joins", "moves", "pools", "products", "qdq", "qfloat",
    "qjoins", "qlinear", "quantizers", "reductions", "rounding", "smooth", "trunc",
]
