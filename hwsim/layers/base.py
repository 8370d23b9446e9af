"""Layers: which nodes of a graph share one engine, and how that engine is built.

A layer knows its nodes, what its folding numbers must divide, how many cycles a folding takes, and which blocks it
becomes.  Each kind is a class; `layers.collect` finds the layers of a graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from intir import BitwrightError, Graph, IntType, Node, Range

from ..engines.base import Engine, Word
from ..engines.memories import Resources
from ..plan import LayerPlan, PlanError

Int64 = NDArray[np.int64]


class MappingError(BitwrightError):
    """No engine runs a node, or the graph's shape is beyond the dataflow style."""


@dataclass(frozen=True)
class Flow:
    """A stream while a design is built.

    Parameters
    ----------
    stream : int
        Its number.
    word : Word
    words : int
        Per frame.
    """

    stream: int
    word: Word
    words: int

    @property
    def elements(self) -> int:
        """Per frame."""
        return self.words * self.word.lanes


class Builder(Protocol):
    """What a layer builds its blocks with."""

    @property
    def family(self) -> str:
        """The FPGA family of the plan."""
        ...

    def block(self, suffix: str, engine: Engine, inputs: list[Flow], words_out: int, rounds: int, **constants: Int64) -> Flow:
        """Add a block of the present layer; returns the stream that it makes."""
        ...

    def converted(self, flow: Flow, lanes: int) -> Flow:
        """The stream with another number of lanes."""
        ...


@dataclass(frozen=True, eq=False)
class Layer(ABC):
    """The nodes that one engine runs.

    Parameters
    ----------
    graph : Graph
    nodes : tuple of Node
        In order; the first names the layer.
    x_types : tuple of IntType
        Elements of the streams at its inputs, as they travel.
    """

    engine: ClassVar[str] = ""
    #: What `pe` counts, for errors.
    pe_counts: ClassVar[str] = "outputs"
    #: Whether the plan gives inputs at a time.
    has_simd: ClassVar[bool] = False
    #: Which of `plan.CHOICES` its engine has.
    options: ClassVar[frozenset[str]] = frozenset()
    #: Whether the plan may ask for all taps of a window at a time, as `simd`; without it, they come one by one.
    takes_taps: ClassVar[bool] = False

    graph: Graph
    nodes: tuple[Node, ...]
    x_types: tuple[IntType, ...]

    @property
    def name(self) -> str:
        """The first node's name."""
        return self.nodes[0].name

    @property
    def sources(self) -> tuple[str, ...]:
        """The IR values that it reads."""
        return self.nodes[0].inputs

    @property
    def value(self) -> str:
        """The IR value that it makes."""
        return self.nodes[-1].output

    @property
    def shape_in(self) -> tuple[int, ...]:
        """Shape of its first input."""
        return self.graph.values[self.sources[0]].shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of its output."""
        return self.graph.values[self.value].shape

    @property
    def counted(self) -> str:
        """What `pe` counts, for errors."""
        return self.pe_counts

    @property
    def elements(self) -> int:
        """Elements of its output per frame."""
        return self.graph.values[self.value].elements

    @property
    def positions(self) -> int:
        """Elements of its output per channel."""
        return self.elements // self.shape[-1]

    def range(self, value: str) -> Range:
        """The proven range of an IR value."""
        return self.graph.ranges[value]

    @property
    def out_type(self) -> IntType:
        """Elements of its output, as they travel."""
        return plain(self.graph.values[self.value].type)

    @property
    def has_windows(self) -> bool:
        """Whether a unit lays out windows for it, so that `window_memory` means something."""
        return "window_memory" in self.options

    def pe_choices(self) -> list[int]:
        """Elements of the output that may be computed at a time, ascending."""
        return divisors(self.shape[-1])

    def simd_choices(self) -> list[int]:
        """Inputs that may be summed at a time, ascending."""
        return [1]

    def is_lined(self, entry: LayerPlan) -> bool:
        """Whether a line buffer gives it all taps of some channels at a time."""
        return self.takes_taps and (entry.simd or 1) > 1

    def cycles(self, entry: LayerPlan) -> int:
        """Least clock cycles per frame of a folding."""
        return self.elements // entry.pe

    def foldings(self) -> list[LayerPlan]:
        """Every folding of it."""
        return [LayerPlan(self.engine, pe, simd if self.has_simd or simd > 1 else None)
                for pe in self.pe_choices() for simd in self.simd_choices()]

    @property
    def operations(self) -> int:
        """Multiply-accumulates per frame, if it is a product."""
        return 0

    def luts(self, entry: LayerPlan, family: str) -> int:
        """Estimated LUTs of a folding on a family, to choose between foldings."""
        return entry.pe

    def resources(self, entry: LayerPlan, family: str) -> Resources:
        """What a folding changes, estimated: its LUTs, unless the layer says more."""
        return Resources(self.luts(entry, family))

    def lanes_in(self, entry: LayerPlan) -> tuple[int, ...]:
        """Lanes that it takes from each of its inputs."""
        return (entry.pe,) * len(self.sources)

    @abstractmethod
    def build(self, builder: Builder, entry: LayerPlan, flows: list[Flow]) -> Flow:
        """Add its blocks; `flows` have the lanes of `lanes_in`."""

    def check(self, entry: LayerPlan) -> None:
        """Raise PlanError unless a plan's entry fits."""
        if entry.engine != self.engine:
            raise PlanError(f"layer '{self.name}': the plan's engine '{entry.engine}' cannot run it; write "
                            f"engine = \"{self.engine}\"")
        _among(self.name, "pe", entry.pe, self.pe_choices(), self.counted)
        if self.has_simd:
            _among(self.name, "simd", entry.simd, self.simd_choices(), "inputs")
        elif entry.simd is not None and self.takes_taps and entry.simd not in self.simd_choices():
            raise PlanError(f"layer '{self.name}': simd = {entry.simd}, but the engine '{self.engine}' takes so many taps "
                            f"of its windows at a time: {' or '.join(map(str, self.simd_choices()))}")
        self.check_options(entry, [] if entry.simd is None or self.has_simd or self.takes_taps else ["simd"])
        if entry.window_memory is not None and not self.has_windows:
            raise PlanError(f"layer '{self.name}': window_memory is {entry.window_memory!r}, but the layer keeps no rows for "
                            "windows; remove that line")

    def check_options(self, entry: LayerPlan, others: Sequence[str] = ()) -> None:
        """Raise PlanError if a plan's entry chooses what the engine has not; `others` are more keys that it has not."""
        for key in (*others, *(key for key in entry.options if key not in self.options)):
            raise PlanError(f"layer '{self.name}': the engine '{self.engine}' has no {key}, but the plan says "
                            f"{getattr(entry, key)!r}; remove that line")


def _among(layer: str, key: str, value: int | None, choices: list[int], what: str) -> None:
    most = choices[-1]
    if value is None:
        raise PlanError(f"layer '{layer}' has no {key}; give one that divides its {most} {what}")
    if value not in choices:
        named = nearest(value, choices)
        raise PlanError(f"layer '{layer}': {key} = {value} does not divide its {most} {what}; the nearest that "
                        f"{'do are' if len(named) > 1 else 'does is'} {' and '.join(named)}")


def nearest(value: int, choices: list[int]) -> list[str]:
    """Of ascending choices, the one below a value and the one above, as far as there are."""
    return [str(one) for one in (*[one for one in choices if one < value][-1:], *[one for one in choices if one > value][:1])]


def divisors(number: int) -> list[int]:
    """All divisors, ascending."""
    return [d for d in range(1, number + 1) if number % d == 0]


def span(values: Int64) -> IntType:
    """The interval that the values reach."""
    return IntType(int(values.min()), int(values.max()))


def plain(kind: IntType) -> IntType:
    """The type in which computed sums travel: two's complement without steps."""
    return IntType(kind.lo, kind.hi)


Maker = Callable[[Graph, Node, tuple[IntType, ...]], "Layer | None"]
#: Operation -> functions that may make a layer of a node; the first that does wins.
MAKERS: dict[str, list[Maker]] = {}


def makes(*kinds: str) -> Callable[[Maker], Maker]:
    """Enter a function into `MAKERS`."""
    def enter(maker: Maker) -> Maker:
        for kind in kinds:
            MAKERS.setdefault(kind, []).append(maker)
        return maker
    return enter


def sole_reader(graph: Graph, value: str, kind: type) -> Node | None:
    """The only node that reads a value, if its operation is of a kind and the value is no output."""
    readers = graph.consumers(value)
    if len(readers) != 1 or not isinstance(readers[0].op, kind) or value in {one.value for one in graph.outputs}:
        return None
    return readers[0]
