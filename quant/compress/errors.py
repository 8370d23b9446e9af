"""The error of compressing networks."""

from intir import BitwrightError


class CompressionError(BitwrightError):
    """What was asked of a network cannot be done: a budget, a layer, a rank, a missing normalization."""
