"""QONNX and ONNX graphs in exact rational arithmetic: the witness for float executions and for the lowering alike.

It shares nothing with `quant.lower` but the reading of files.  Every float constant is the rational that it is.  What is
irrational follows the rules that the lowering documents: the standard deviation of a batch normalization, and functions of
constants such as a square root, are rounded to float32; a sigmoid or its like between quantizers is enclosed between
rationals of 70 digits, and the level behind it is certain or there is an error.

- `rational`   integers with a rational unit for each channel
- `products`   products and pools on them, through float64 BLAS where bounds prove it exact
- `quantizers`, `smooth`, `moves`   what single operators compute
- `node`, `operators`, `layout`, `graph`   the operators of a graph, and the walk
"""

from .graph import ExactNetwork
from .rational import ExactError, Rational, equal, of_array, whole

__all__ = ["ExactError", "ExactNetwork", "Rational", "equal", "of_array", "whole"]
