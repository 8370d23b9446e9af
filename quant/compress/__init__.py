"""The compression toolbox: methods that make a trained float network smaller, for hardware that gains by it.

Every method takes a network and gives a new one; the one that was given stays as it is.  What comes out is a module that
`quant.nn` quantizes and exports, so it lowers, simulates and builds like any other.
"""

from .errors import CompressionError

__all__ = ["CompressionError"]
