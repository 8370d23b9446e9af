"""The compression toolbox: methods that make a trained float network smaller, for hardware that gains by it.

Every method takes a network and gives a new one; the one that was given stays as it is.  What comes out is a module that
`quant.nn` quantizes and exports, so it lowers, simulates and builds like any other.

==========  ==================================================================================================
weights     pruning of single weights
channels    pruning of channels
sharing     fewer numbers for the same weights
coding      Huffman coding to a file
lowrank     layers as products of smaller ones
search      densities and bits for each layer, by what they cost
bench       what `bitwright compress` compares, and on what
==========  ==================================================================================================

Beside them: `distill` (losses), `blocks` (modules), `lowbit` (binary and ternary layers), `deep` and `ganslim` (combinations).
"""

from .errors import CompressionError

__all__ = ["CompressionError"]
