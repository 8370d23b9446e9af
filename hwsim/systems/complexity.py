"""Model complexity as the field states it: parameters, products, bit-operations, bytes, intensity, parallelism, roofline.

Bit-operations of a layer are its multiply-accumulates times the bits of a weight times the bits of an activation (a product of two
integers is that many products of single bits); binary operations are the multiply-accumulates whose operands are both two-valued,
an XNOR and a count each.  Traffic is the least there can be: each operand once, layer by layer, or, for the network as a whole
(`compulsory_bytes`), only its weights, its input and its output.  The roofline is Williams, Waterman and Patterson's (CACM 52(4),
2009).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from intir import BitwrightError

from .machine import Machine
from .work import Work, Workload


class ComplexityError(BitwrightError):
    """A figure that a machine or a network does not have."""


@dataclass(frozen=True)
class Roofline:
    """Where a layer stands under a machine's roof.

    Parameters
    ----------
    peak_macs_per_s : float
        Of the array, for operands of the layer's widths: wider ones than the array's take several passes.
    attainable_macs_per_s : float
        The lower one of that and of what DRAM's bandwidth allows at the layer's intensity.
    seconds : float
        The least time of a frame: the longer one of computing and of moving.
    bound : str
        ``array`` or ``dram``.
    """

    peak_macs_per_s: float
    attainable_macs_per_s: float
    seconds: float
    bound: str


@dataclass(frozen=True)
class LayerComplexity:
    """One layer, of one frame.

    Parameters
    ----------
    name, kind, arithmetic : str
        As in `work.Work`.
    parameters : int
        Weights.
    nonzero_parameters : int
        Of them, those that are not zero.
    macs : int
    binary_operations : int
        Multiply-accumulates of two two-valued operands.
    bit_operations : int
        Multiply-accumulates times the bits of both operands.
    other_operations : int
        Additions, multiplications, comparisons and look-ups besides.
    weight_bytes, constant_bytes, read_bytes, written_bytes : float
        Weights, packed; thresholds, tables and the like; activations.
    parallel_outputs : int
        Sums that do not depend on each other: what could be computed at a time.
    roofline : Roofline or None
        On a machine, if one was given, for layers that multiply.
    """

    name: str
    kind: str
    arithmetic: str
    parameters: int
    nonzero_parameters: int
    macs: int
    binary_operations: int
    bit_operations: int
    other_operations: int
    weight_bytes: float
    constant_bytes: float
    read_bytes: float
    written_bytes: float
    parallel_outputs: int
    roofline: Roofline | None = None

    @property
    def traffic_bytes(self) -> float:
        """Every operand once."""
        return self.weight_bytes + self.constant_bytes + self.read_bytes + self.written_bytes

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity at the least traffic."""
        return self.macs / self.traffic_bytes


@dataclass(frozen=True)
class Complexity:
    """A network, of one frame.

    Parameters
    ----------
    network : str
    layers : tuple of LayerComplexity
    input_bytes, output_bytes : float
    peak_activation_bytes : float
        Greatest sum of the tensors that are needed at a time, layer by layer.
    machine : str
        Name of the machine of the rooflines; empty without one.
    """

    network: str
    layers: tuple[LayerComplexity, ...]
    input_bytes: float
    output_bytes: float
    peak_activation_bytes: float
    machine: str = ""

    def total(self, figure: str) -> float:
        """The sum of one of a layer's figures."""
        total: float = sum(getattr(layer, figure) for layer in self.layers)  # whole where the figures are
        return total

    @property
    def compulsory_bytes(self) -> float:
        """What must move even if all activations stayed on chip."""
        return self.total("weight_bytes") + self.total("constant_bytes") + self.input_bytes + self.output_bytes

    @property
    def macs_per_byte(self) -> float:
        """Arithmetic intensity, layer by layer."""
        return self.total("macs") / max(self.total("traffic_bytes"), 1e-300)

    @property
    def compression(self) -> float:
        """Bytes of the parameters as 32-bit floats over those that they have; 1 without parameters."""
        stored = self.total("weight_bytes")
        return 4 * self.total("parameters") / stored if stored else 1.0

    @property
    def roofline_seconds(self) -> float | None:
        """The least time of the layers that multiply, one after the other; None without a machine."""
        return sum(layer.roofline.seconds for layer in self.layers if layer.roofline) if self.machine else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the above, with totals."""
        layers = [dataclasses.asdict(layer) | {"traffic_bytes": layer.traffic_bytes, "macs_per_byte": layer.macs_per_byte}
                  for layer in self.layers]
        return dataclasses.asdict(dataclasses.replace(self, layers=())) | {
            "layers": layers, "totals": {name: self.total(name) for name in SUMMED}, "compulsory_bytes": self.compulsory_bytes,
            "macs_per_byte": self.macs_per_byte, "compression": self.compression, "roofline_seconds": self.roofline_seconds}


#: Figures of a layer that add up.
SUMMED: Final = ("parameters", "nonzero_parameters", "macs", "binary_operations", "bit_operations", "other_operations",
                 "weight_bytes", "constant_bytes", "read_bytes", "written_bytes", "traffic_bytes")


def complexity(workload: Workload, machine: Machine | None = None) -> Complexity:
    """Complexity of a network, with each layer's position under a machine's roofline.

    Raises
    ------
    ComplexityError
        If the machine is a design of its own for each network, which has no peak before it is folded.
    """
    if machine is not None and machine.array.kind == "dataflow":
        raise ComplexityError(f"machine {machine.name} is folded for each network, so it has no roofline of its own; simulate it "
                              "(`bitwright sim`), or choose another machine")
    read = {name for work in workload.works for name in work.inputs}
    outputs = sum(work.output.bytes for work in workload.works if work.name not in read or work.name in workload.outputs)
    return Complexity(workload.name, tuple(_layer(work, machine) for work in workload.works), workload.input.bytes, outputs,
                      _peak_bytes(workload), machine.name if machine else "")


def _layer(work: Work, machine: Machine | None) -> LayerComplexity:
    weights, product = work.weights, work.product
    bits = weights.type.bits * work.reads[0].type.bits if weights else 0
    layer = LayerComplexity(
        work.name, work.kind, work.arithmetic, weights.elements if weights else 0,
        round(weights.elements * weights.density) if weights else 0, work.macs, work.macs if work.arithmetic == "binary" else 0,
        work.macs * bits, sum(work.operations.values()), weights.bytes if weights else 0.0, work.constant_bits / 8,
        sum(read.bytes for read in work.reads), work.output.bytes,
        product.groups * product.pixels * product.filters if product else work.output.elements)
    if machine is None or weights is None:
        return layer
    return dataclasses.replace(layer, roofline=_roofline(layer, machine, work.reads[0].type.bits, weights.type.bits))


def _roofline(layer: LayerComplexity, machine: Machine, activation_bits: int, weight_bits: int) -> Roofline:
    array = machine.array
    passes = math.ceil(activation_bits / array.activation_bits) * math.ceil(weight_bits / array.weight_bits)
    peak = array.peak_macs * machine.clock_mhz * 1e6 / passes
    moved = machine.dram.gb_per_s * 1e9 * layer.macs_per_byte
    attainable = min(peak, moved)
    return Roofline(peak, attainable, layer.macs / attainable, "array" if peak <= moved else "dram")


def _peak_bytes(workload: Workload) -> float:
    """Greatest sum of bytes of tensors that are alive at a time, run layer by layer."""
    last = {name: position for position, work in enumerate(workload.works) for name in work.inputs}
    alive = {"": workload.input.bytes}
    peak = workload.input.bytes
    for position, work in enumerate(workload.works):
        alive[work.name] = work.output.bytes
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, len(workload.works)) > position}
    return peak


#: What a comparison states, and the figure of which it is the ratio, the other network's over this one's.
RATIOS: Final[dict[str, Callable[[Complexity], float]]] = {
    "parameters": lambda one: one.total("parameters"),
    "nonzero parameters": lambda one: one.total("nonzero_parameters"),
    "weight memory (compression)": lambda one: one.total("weight_bytes"),
    "activation memory at the peak": lambda one: one.peak_activation_bytes,
    "multiply-accumulates": lambda one: one.total("macs"),
    "bit-operations (speed-up of bit-serial hardware)": lambda one: one.total("bit_operations"),
    "least traffic, layer by layer": lambda one: one.total("traffic_bytes"),
    "least traffic, activations on chip": lambda one: one.compulsory_bytes,
    "least time on the machine (speed-up)": lambda one: one.roofline_seconds or 0.0,
}


@dataclass(frozen=True)
class Ratio:
    """How two networks compare in one figure; `ratio` is `other` over `this`: above 1, this one needs less."""

    figure: str
    this: float
    other: float

    @property
    def ratio(self) -> float | None:
        """None where this network needs nothing of it."""
        return self.other / self.this if self.this else None


def compare(this: Complexity, other: Complexity) -> tuple[Ratio, ...]:
    """Compression and speed-up of a network against another, figure by figure; figures that neither has are left out."""
    ratios = (Ratio(name, figure(this), figure(other)) for name, figure in RATIOS.items())
    return tuple(one for one in ratios if one.this or one.other)
