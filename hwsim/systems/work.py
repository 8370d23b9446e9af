"""What a network asks of a machine, layer by layer: shapes, types and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intir import IntType

#: Kinds of layers: sums of products; pools; everything computed element by element; what only moves.
KINDS = ("product", "pool", "elementwise", "move")


@dataclass(frozen=True)
class Tensor:
    """Integers that are stored or that travel.

    Parameters
    ----------
    elements : int
    type : IntType
    density : float
        Share of them that are not zero.
    """

    elements: int
    type: IntType
    density: float = 1.0

    @property
    def bytes(self) -> float:
        """Packed."""
        return self.elements * self.type.bits / 8


@dataclass(frozen=True)
class Window:
    """The window of a convolution; (height, width), 1-D ones with height 1."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    in_size: tuple[int, int]
    out_size: tuple[int, int]


@dataclass(frozen=True)
class Product:
    """Sums of products: of each group, a matrix (pixels, terms) times one of (terms, filters).

    Parameters
    ----------
    pixels : int
        Output positions of a frame; 1 for a dense layer on a vector.
    terms : int
        Products that an output sums: kernel height x width x input channels of a group.
    filters : int
        Output channels of a group.
    groups : int
        As many as channels in a depthwise convolution.
    window : Window or None
        None for a dense layer, and for a transposed convolution: each input pixel times all taps, overlapping results added.
    distance : bool
        Whether a term is ``-|x - w|`` instead of ``x * w`` (AdderNet): two additions, no multiplication.
    """

    pixels: int
    terms: int
    filters: int
    groups: int = 1
    window: Window | None = None
    distance: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a frame."""
        return self.groups * self.pixels * self.terms * self.filters


@dataclass(frozen=True)
class Work:
    """One layer: a product with what is computed on its sums as they leave, or a layer of its own kind.

    Parameters
    ----------
    name : str
    kind : str
        One of `KINDS`.
    inputs : tuple of str
        Layers it reads; ``""`` is the network's input.
    reads : tuple of Tensor
        What it reads of each.
    output : Tensor
    product : Product or None
    weights : Tensor or None
    sums : IntType or None
        Of the accumulators.
    operations : name -> count
        Of one frame besides the products: ``add``, ``multiply``, ``compare``, ``lookup``.
    constant_bits : int
        Of thresholds, tables, multipliers and biases.
    matrix : int64 (groups * filters, terms) or None
        The weights themselves, for machines whose cycles depend on zeros.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    reads: tuple[Tensor, ...]
    output: Tensor
    product: Product | None = None
    weights: Tensor | None = None
    sums: IntType | None = None
    operations: Mapping[str, int] = field(default_factory=dict)
    constant_bits: int = 0
    matrix: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a frame."""
        return self.product.macs if self.product else 0

    @property
    def arithmetic(self) -> str:
        """``binary``, ``ternary`` or ``integer``, by the types of weights and activations; ``none`` without products.

        Two levels are binary; a product of two operands of which both have at most three levels is ternary.
        """
        if self.weights is None:
            return "none"
        levels = sorted((self.weights.type.levels, self.reads[0].type.levels))
        return {2: "binary", 3: "ternary"}.get(levels[1], "integer")


@dataclass(frozen=True)
class Workload:
    """A network as layers.

    Parameters
    ----------
    name : str
    works : tuple of Work, producers before consumers
    input : Tensor
    outputs : tuple of str
        Layers whose results are the network's although other layers read them; those that nothing reads always are.
    """

    name: str
    works: tuple[Work, ...]
    input: Tensor
    outputs: tuple[str, ...] = ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a frame."""
        return sum(work.macs for work in self.works)
