"""Networks as tables of shapes, without weights: what an architect writes down first.

A table is a CSV file of one row a layer; `hwsim/data/topologies` has some, and docs/machines.md says what the columns mean.
SCALE-Sim's own files, of convolutions or of matrix products, are read as well (`scalesim_csv`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from intir import GraphError, IntType
from intir.types import MAX_BITS
from intir.whole import unreadable

from .scalesim_csv import is_scalesim, read_scalesim
from .table import Row, TableError, nearest, rows_of
from .work import Product, Tensor, Window, Work, Workload

#: Kinds of rows, and the kind of layer that each is.
KINDS = {"conv": "product", "dense": "product", "maxpool": "pool", "avgpool": "pool", "add": "elementwise", "concat": "move"}
NEEDED = ("layer", "kind", "height", "width", "channels", "activation_bits")
COLUMNS = (*NEEDED, "kernel", "stride", "padding", "dilation", "groups", "filters", "weight_bits", "output_bits", "reads",
           "activation_density", "weight_density")
#: What `reads` calls the network's input.
INPUT = "input"


@dataclass(frozen=True)
class _Layer:
    """A row, read."""

    row: Row
    name: str
    kind: str
    given: tuple[int, int, int]
    made: tuple[int, int, int]
    reads: tuple[str, ...]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    activations: IntType
    weights: IntType | None
    output: IntType | None

    @property
    def outputs(self) -> int:
        """Elements that it makes."""
        return math.prod(self.made)


def topology_names() -> list[str]:
    """Names of the networks in `hwsim/data/topologies`."""
    return list(_names())


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(file.name.removesuffix(".csv") for file in (files("hwsim") / "data" / "topologies").iterdir()
                        if file.name.endswith(".csv")))


def topology(name_or_path: str | Path) -> Workload:
    """A network of the library by its name, or one from a CSV file.

    Raises
    ------
    TableError
        If there is none, or its table is wrong: with file and line.
    """
    name = str(name_or_path)
    if name in topology_names():
        return _library(name)
    path = Path(name_or_path)
    if path.suffix.lower() != ".csv":
        known = topology_names()
        choices = nearest(name, known) or f"; choose one of {', '.join(known)}, or give the path of a .csv file"
        raise TableError(f"there is no topology '{name[:80]}'{choices}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # as spreadsheets write it
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise TableError(f"cannot read the topology '{path}': {unreadable(error)}; give the path of a CSV file") from None
    return parse_topology(text, path.stem, f"topology '{path}'")


@cache
def _library(name: str) -> Workload:
    text = (files("hwsim") / "data" / "topologies" / f"{name}.csv").read_text(encoding="utf-8")
    return parse_topology(text, name, f"topology '{name}'")


def parse_topology(text: str, name: str = "topology", where: str = "topology") -> Workload:
    """A network from the text of a table, ours or SCALE-Sim's.

    Raises
    ------
    TableError
        If a column, a cell or a shape is wrong: with the line.
    """
    if is_scalesim(text):
        return read_scalesim(text, name, where)
    layers: list[_Layer] = []
    names: dict[str, None] = {}
    shapes: dict[str, tuple[int, int, int]] = {}
    for row in rows_of(text, where, NEEDED, COLUMNS):
        layer = _layer(row, names)
        row.check_macs("channels", layer.outputs * _terms(layer))
        shapes.setdefault(INPUT, layer.given)
        for number, read in enumerate(layer.reads):
            _check_shape(layer, read, shapes[read], first=number == 0)
        if layer.kind == "concat" and (total := sum(shapes[read][2] for read in layer.reads)) != layer.given[2]:
            raise row.error("channels", f"of all that it reads are {total}; mend it")
        shapes[layer.name] = layer.made
        layers.append(layer)
        names[layer.name] = None
    if not layers:
        raise TableError(f"{where} has no layers; give one row for each")
    types = _types(layers)
    unread = {layer.name for layer in layers} - {read for layer in layers for read in layer.reads}
    works = tuple(_work(layer, types, shapes, bias_only=layer.name in unread and layer.output is None) for layer in layers)
    return Workload(name, works, Tensor(math.prod(shapes[INPUT]), types[INPUT]))


def _layer(row: Row, known: dict[str, None]) -> _Layer:
    name, kind = row.text("layer"), row.choice("kind", tuple(KINDS))
    if name in known or name == INPUT:
        raise row.error("layer", "is taken; give each layer a name of its own")
    height, width, channels = (row.number(key) for key in ("height", "width", "channels"))
    reads = tuple(row.text("reads", next(reversed(known), INPUT)).split())
    for read in reads:
        if read not in known and read != INPUT:
            raise row.error("reads", f"names '{read}', which no row before it makes{nearest(read, known)}")
    product = KINDS[kind] == "product"
    windowed = kind in ("conv", "maxpool", "avgpool")
    kernel = row.pair("kernel") if windowed else (1, 1)
    stride = row.pair("stride", (1, 1)) if windowed else (1, 1)
    padding = row.pair("padding", (0, 0), least=0) if windowed else (0, 0)
    dilation = row.pair("dilation", (1, 1)) if windowed else (1, 1)
    groups = row.number("groups", 1)
    filters = row.number("filters") if product else channels
    if channels % groups or filters % groups:
        raise row.error("groups", f"does not divide {channels} channels and {filters} filters; choose a divisor of both")
    sizes = [_outputs(row, *axis) for axis in zip((height, width), kernel, stride, padding, dilation, strict=True)]
    made = (1, 1, filters) if kind == "dense" else (sizes[0], sizes[1], filters)
    weights = row.type("weight_bits", activations=False) if product else None
    output = row.type("output_bits", activations=True) if row.has("output_bits") else None
    return _Layer(row, name, kind, (height, width, channels), made, reads, kernel, stride, dilation, groups,
                  row.type("activation_bits", activations=True), weights, output)


def _outputs(row: Row, size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if room < 0:
        raise row.error("kernel", f"reaches over {dilation * (kernel - 1) + 1}, more than an input of {size} padded by {padding} "
                        "on both sides; pad more or shrink it")
    return room // stride + 1


def _check_shape(layer: _Layer, read: str, shape: tuple[int, int, int], *, first: bool) -> None:
    """Raise TableError unless a layer can read what another makes."""
    given, made = "x".join(map(str, layer.given)), "x".join(map(str, shape))
    if layer.kind == "concat":
        fits, wanted = shape[:2] == layer.given[:2], f"{given[:given.rindex('x')]} pixels"
    elif not first and layer.kind != "add":  # added to the sums as they leave
        fits, wanted = shape == layer.made, "x".join(map(str, layer.made))
    elif layer.kind == "dense":
        fits, wanted = math.prod(shape) == math.prod(layer.given), given
    else:
        fits, wanted = shape == layer.given, given
    if not fits:
        raise layer.row.error("reads", f"'{read}' of {made}, but the layer takes {wanted}; mend one of the two")


def _types(layers: Sequence[_Layer]) -> dict[str, IntType]:
    """The type of what each layer makes: as it says, else as its readers take it, else its accumulators'."""
    types = {layer.name: layer.output for layer in layers if layer.output}
    for layer in layers:
        taken = types.setdefault(layer.reads[0], layer.activations)
        if taken != layer.activations:
            raise layer.row.error("activation_bits", f"takes {layer.activations} of '{layer.reads[0]}', which is {taken}; "
                                  "make them the same, or convert in a row of kind add between them")
    for layer in layers:
        for read in layer.reads[1:]:
            types.setdefault(read, layer.activations)
    for layer in layers:
        types.setdefault(layer.name, _sums(layer) if layer.weights else layer.activations)
    return types


def _terms(layer: _Layer) -> int:
    height, width, channels = layer.given
    return height * width * channels if layer.kind == "dense" else math.prod(layer.kernel) * channels // layer.groups


def _sums(layer: _Layer) -> IntType:
    """What a layer's accumulators can reach with any weights of their type."""
    a, w = layer.activations, layer.weights or layer.activations
    corners = [x * y * _terms(layer) for x in (a.lo, a.hi) for y in (w.lo, w.hi)]
    try:
        return IntType(min(corners), max(corners))
    except GraphError:
        raise layer.row.error("weight_bits", f"and activations of {a.bits} bits make sums of more than {MAX_BITS} bits; narrow one "
                              "of the two") from None


def _work(layer: _Layer, types: dict[str, IntType], shapes: dict[str, tuple[int, int, int]], *, bias_only: bool) -> Work:
    """A row as a layer of work.

    The sums of a product get a constant of the accumulator's width each, a bias or the threshold of a two-valued output; unless the
    network ends there, they are requantized: a product, that addition, and two comparisons with the ends of the range.
    """
    density = layer.row.fraction("activation_density")
    reads = tuple(Tensor(math.prod(shapes[read]), types[read], density if number == 0 else 1.0)
                  for number, read in enumerate(layer.reads))
    output = Tensor(layer.outputs, types[layer.name])
    operations: Counter[str] = Counter(add=output.elements * (len(reads) - 1) if layer.kind != "concat" else 0)
    inputs = tuple("" if read == INPUT else read for read in layer.reads)
    if layer.kind == "maxpool":
        operations["compare"] += output.elements * (math.prod(layer.kernel) - 1)
    elif layer.kind == "avgpool":
        operations["add"] += output.elements * (math.prod(layer.kernel) - 1)
    if layer.kind in ("avgpool", "add") or (layer.weights and not bias_only):
        two_valued = output.type.levels == 2
        operations.update({"compare": output.elements} if two_valued else
                          {"multiply": output.elements, "add": output.elements, "compare": 2 * output.elements})
    elif layer.weights:
        operations["add"] += output.elements
    counts = {name: count for name, count in operations.items() if count}
    if layer.weights is None:
        return Work(layer.name, KINDS[layer.kind], inputs, reads, output, operations=counts)
    filters, sums = layer.made[2], _sums(layer)
    window = None if layer.kind == "dense" else Window(layer.kernel, layer.stride, layer.dilation, layer.given[:2], layer.made[:2])
    product = Product(layer.made[0] * layer.made[1], _terms(layer), filters // layer.groups, layer.groups, window)
    weights = Tensor(product.terms * filters, layer.weights, layer.row.fraction("weight_density"))
    return Work(layer.name, "product", inputs, reads, output, product, weights, sums, counts, filters * sums.bits)
