"""What handlers share: the builder, the report, names, inputs, and the ways to bring an activation into a form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from intir import Affine, Clip, GraphBuilder, HostStep, Lookup, Op, Requant, ScaleChannels, Threshold
from intir.ranges import Range
from intir.types import IntType

from .errors import LoweringError
from .exact import ZERO, Ints, Param, objects
from .inputs import placed
from .semantics import EXACT, Semantics
from .tensors import Act, Carrier, Source, fresh, spread


@dataclass(frozen=True)
class Record:
    """One line of the report: how an IR node came about.

    Parameters
    ----------
    value : str
        The IR value that the node makes.
    sources : tuple of str
        Names of the ONNX nodes that it computes.
    form : str
        What was chosen, in words: ``Threshold, 15 per channel``, ``MatMul 784 x 64, bipolar weights``, ...
    width_bits : int
        Width of the value.
    differing : int
        Number of reachable inputs for which the IR differs from the exact network; the lowering refuses others than 0.
    """

    value: str
    sources: tuple[str, ...]
    form: str
    width_bits: int
    differing: int = 0


@dataclass
class Context:
    """State of one lowering.

    Parameters
    ----------
    builder : GraphBuilder
    channels_first : bool
        Whether three-dimensional tensors are (N, C, L): true in networks with convolutions.
    node : str
        Name of the ONNX node that is being lowered.
    semantics : Semantics
        Whose arithmetic quantized operators have.
    """

    builder: GraphBuilder
    channels_first: bool
    node: str = ""
    semantics: Semantics = EXACT
    report: list[Record] = field(default_factory=list)
    elementwise: dict[str, tuple[str, Op]] = field(default_factory=dict)  #: IR value -> what it is a function of, and which
    _taken: set[str] = field(default_factory=set)
    _placed: dict[str, tuple[Carrier, Ints]] = field(default_factory=dict)

    def unique(self, stem: str) -> str:
        """A legal IR name close to an ONNX name; unique without regard to case, as Verilog tools want it."""
        clean = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_")[:60] or "value"
        if not clean[0].isalpha():
            clean = f"t_{clean}"
        name, number = clean, 0
        while name.lower() in self._taken:
            number += 1
            name = f"{clean}_{number}"
        self._taken.add(name.lower())
        return name

    def emit(self, op: Op, inputs: Sequence[str], sources: tuple[str, ...], form: str) -> str:
        """Add an IR node; returns its value's name."""
        sources = tuple(dict.fromkeys(sources))
        name = self.unique(sources[-1] if sources else op.kind)
        self.builder.node(op, *inputs, name=name, source=", ".join(sources)[:400])
        self.report.append(Record(name, sources, form, self.type(name).bits))
        if isinstance(op, (Clip, Lookup, Requant, ScaleChannels, Threshold)):
            self.elementwise[name] = (inputs[0], op)
        return name

    def ancestors(self, name: str) -> list[str]:
        """An IR value, then the one whose integers alone decide each of its own, and so on."""
        line = [name]
        while line[-1] in self.elementwise:
            line.append(self.elementwise[line[-1]][0])
        return line

    def type(self, name: str) -> IntType:
        """The type of an IR value."""
        return self.builder.values[name].type

    def range(self, name: str) -> Range:
        """The proven range of an IR value."""
        return self.builder.ranges[name]

    def settled(self, act: Act) -> Act:
        """The activation over an IR value that exists, its scale corrected for channels that were negated.

        Raises
        ------
        LoweringError
            If it is the network's float input, for which nothing says what integers stand for it.
        """
        carrier = act.carrier
        if isinstance(carrier, Source):
            if carrier.spec is None:
                raise LoweringError(
                    f"the float input '{carrier.name}' reaches it without a quantizer" +
                    (" (another quantizer reads it, too)" if carrier.name in self._placed else "") +
                    "; say which integers stand for it with --input (for example --input u8/255), or start the network with "
                    "one Quant or BipolarQuant")
            if carrier.name not in self._placed:
                self._place(act, carrier, carrier.spec.type, Affine((carrier.spec.scale,)),
                            HostStep(carrier.spec.text, carrier.spec.scale))
            made, position = self._placed[carrier.name]
            return replace(act, carrier=made, where=position[act.where], scale=objects(act.scale * carrier.spec.scale))
        name = carrier.name()
        scale = act.scale
        if carrier.negated is not None:
            sign = spread(objects(np.where(carrier.negated, -1, 1).astype(object)), act.where, carrier.shape[-1])
            scale = objects(scale * sign)
        return replace(act, carrier=Carrier.made(name, carrier.shape), scale=scale)

    def quantized_input(self, act: Act, kind: IntType, scale: Param, offset: Param, host: HostStep) -> Act:
        """Make the output of the first quantizer the hardware's input.

        Parameters
        ----------
        act : Act over a Source
            The quantizer's input, for its view.
        scale, offset : Param of length 1 or C
            What the integers mean.

        Raises
        ------
        LoweringError
            If another quantizer read the same float input before.
        """
        source = act.carrier
        assert isinstance(source, Source)  # by the caller
        if source.name in self._placed:
            raise LoweringError(f"several quantizers read the float input '{source.name}', so no single one's output can be the "
                                "hardware's input; say which integers stand for it with --input, for example --input u8/255")
        self._place(act, source, kind, Affine(tuple(scale), tuple(offset)), host)
        carrier, position = self._placed[source.name]
        where = position[act.where]
        channels = carrier.shape[-1]
        return fresh(carrier.name(), carrier.shape, where, spread(scale, where, channels), spread(offset, where, channels))

    def _place(self, act: Act, source: Source, kind: IntType, affine: Affine, host: HostStep) -> None:
        inner = source.shape[1:]
        shape, perm, position = placed(act.where, inner, self.channels_first)
        name = self.builder.input(self.unique(source.name if source.name[:1].isalpha() else "input"), shape, kind,
                                  source_shape=inner if inner != shape or perm else None, perm=perm, affine=affine, host=host)
        self._placed[source.name] = (Carrier.made(name, shape), position)


def input_view(source: Source) -> Act:
    """The network's input as an activation."""
    rank = len(source.shape)
    where = np.arange(int(np.prod(source.shape)), dtype=np.int64).reshape(source.shape)
    one, zero = np.full((1,) * rank, Fraction(1), object), np.full((1,) * rank, ZERO, object)
    return Act(source, where, one, zero)
