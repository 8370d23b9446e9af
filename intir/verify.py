"""The verifier: the rules that every graph keeps, checked at every stage boundary.

`RULES` is a table: a name, what it demands, and the function that looks.  `verify` runs them in order; each raises a
GraphError that names the node, the rule, the offending values and the way out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping

from .errors import GraphError
from .graph import Graph
from .ops import OPS
from .ranges import Range

#: Channels of all values together: ranges are kept per channel, so this bounds what a hostile file can make us allocate.
MAX_CHANNELS = 2**24
#: Axes of a value; a file's arrays have as many at most.
MAX_AXES = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/\-]{0,199}")


def _names(graph: Graph) -> None:
    used = [name for node in graph.nodes for name in (node.name, node.output, *node.inputs)]
    ends = [interface.value for interface in (*graph.inputs, *graph.outputs)]
    for name in (graph.name, *graph.values, *used, *ends):
        if not _NAME.fullmatch(name):
            raise GraphError(f"the name {name[:60]!r} is not legal: names start with a letter or underscore and have up to 200 "
                             "of letters, digits and _ . : / -; rename it")


def _structure(graph: Graph) -> None:
    if not graph.inputs or not graph.outputs:
        raise GraphError(f"graph '{graph.name}' has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; it needs "
                         "at least one of each")
    for name, value in graph.values.items():
        if value.name != name:
            raise GraphError(f"value '{name}' calls itself '{value.name}'; use one name")
    twice = [name for name, count in Counter(node.name for node in graph.nodes).items() if count > 1]
    if twice:
        raise GraphError(f"the name '{twice[0]}' belongs to two nodes; rename one")
    made: set[str] = set()
    for interface in graph.inputs:
        if interface.value in made or interface.value not in graph.values:
            raise GraphError(f"input '{interface.value}' is declared twice or has no value; declare each input once")
        made.add(interface.value)
    for node in graph.nodes:
        for source in node.inputs:
            if source not in made:
                raise GraphError(f"node '{node.name}' ({node.op.kind}) reads '{source}', which nothing makes before it; "
                                 "order the nodes so that producers come first")
        if node.output in made or node.output not in graph.values:
            raise GraphError(f"node '{node.name}' makes '{node.output}', which is made twice or has no value; "
                             "give each node an output of its own")
        made.add(node.output)
    if extra := set(graph.values) - made:
        raise GraphError(f"value '{min(extra)}' is made by no node and is no input; remove it")
    for interface in graph.outputs:
        if interface.value not in made:
            raise GraphError(f"output '{interface.value}' is made by no node; name an existing value")


def _operations(graph: Graph) -> None:
    for node in graph.nodes:
        if OPS.get(node.op.kind) is not type(node.op):
            raise GraphError(f"node '{node.name}' has the operation '{node.op.kind}', which the IR does not know; "
                             f"known are {', '.join(sorted(OPS))}")
        arity = node.op.arity
        if not node.inputs or (arity is not None and len(node.inputs) != arity):
            raise GraphError(f"node '{node.name}' ({node.op.kind}) has {len(node.inputs)} inputs; it takes "
                             f"{arity if arity is not None else 'one or more'}")


def _shapes(graph: Graph) -> None:
    channels = 0
    for value in graph.values.values():
        if not value.shape:
            raise GraphError(f"value '{value.name}' has shape (); it needs at least one axis, the last being the channels")
        if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in value.shape):
            raise GraphError(f"value '{value.name}' has shape {value.shape}; every size must be a positive integer")
        if len(value.shape) > MAX_AXES:
            raise GraphError(f"value '{value.name}' of shape {value.shape} has {len(value.shape)} axes; the limit is {MAX_AXES}, "
                             "so reshape it")
        if value.elements > 2**31:
            raise GraphError(f"value '{value.name}' of shape {value.shape} has {value.elements} elements; the limit is 2**31")
        channels += value.shape[-1]
        if channels > MAX_CHANNELS:
            raise GraphError(f"value '{value.name}' of shape {value.shape} brings the channels of all values to {channels}; "
                             "the limit is 2**24, so split the graph")
    for node in graph.nodes:
        shapes = [graph.values[value].shape for value in node.inputs]
        try:
            shape = node.op.shape(*shapes)
        except GraphError as error:
            raise GraphError(f"node '{node.name}': {error}") from None
        if shape != graph.values[node.output].shape:
            raise GraphError(f"node '{node.name}' ({node.op.kind}) makes shape {shape} from {shapes}, but '{node.output}' is "
                             f"declared {graph.values[node.output].shape}; declare the former")


def _ranges(graph: Graph) -> None:
    _ = graph.ranges


def _interfaces(graph: Graph) -> None:
    for interface in (*graph.inputs, *graph.outputs):
        value = graph.values[interface.value]
        source = interface.source_shape
        if source is not None and (math.prod(source) != value.elements or min(source, default=1) < 1):
            raise GraphError(f"'{interface.value}' has shape {value.shape}, but its source shape {interface.source_shape} has "
                             "another number of elements; correct the source shape")
        if interface.perm and sorted(interface.perm) != list(range(len(interface.source_shape or ()))):
            raise GraphError(f"'{interface.value}': {interface.perm} is no permutation of the axes of its source shape "
                             f"{interface.source_shape}; correct the permutation")
        for part in (interface.affine.scale, interface.affine.offset):
            if len(part) not in (1, value.shape[-1] if value.shape else 1):
                raise GraphError(f"'{interface.value}' has {value.shape[-1:]} channels, but its scale or offset has {len(part)}; "
                                 "give one, or one per channel")
        if any(scale == 0 for scale in interface.affine.scale):
            raise GraphError(f"'{interface.value}' has a scale of 0; a scale must not be zero")
        host = interface.host
        if host and (any(list(row) != sorted(row) or len(row) != value.type.levels - 1 for row in host.thresholds)
                     or [len(row) for row in host.strict] != [len(row) for row in host.thresholds]
                     or len(host.thresholds) not in (0, 1, value.shape[-1] if value.shape else 1)):
            raise GraphError(f"'{interface.value}': the host step's thresholds must be sorted, one per step of {value.type}, "
                             "for one or all channels, with as many tie rules")


#: (name, what it demands, check)
RULES: tuple[tuple[str, str, Callable[[Graph], None]], ...] = (
    ("names", "names are short and legal", _names),
    ("structure", "every value is made once, before it is read", _structure),
    ("operations", "operations are known and have their inputs", _operations),
    ("shapes", "declared shapes are what the operations make", _shapes),
    ("ranges", "no value can leave its type", _ranges),
    ("interfaces", "the outside fits the inside", _interfaces),
)


def verify(graph: Graph) -> None:
    """Check every rule.

    Raises
    ------
    GraphError
        Naming the rule, the node, the values and what to do.
    """
    for name, _, check in RULES:
        try:
            check(graph)
        except GraphError as error:
            raise GraphError(f"{error} [rule: {name}]") from None


def proven_ranges(graph: Graph) -> Mapping[str, Range]:
    """The exact range of every value; computed once per graph.

    Raises
    ------
    GraphError
        If a value can leave its declared type.
    """
    return graph.ranges


def compute_ranges(graph: Graph) -> dict[str, Range]:
    """What `proven_ranges` returns, computed anew."""
    ranges = {one.value: Range.of(graph.values[one.value].type, (graph.values[one.value].shape or (1,))[-1])
              for one in graph.inputs}
    for node in graph.nodes:
        shapes = [graph.values[value].shape for value in node.inputs]
        try:
            proven = node.op.range(*[ranges[value] for value in node.inputs], shapes=shapes)
        except GraphError as error:
            raise GraphError(f"node '{node.name}': {error}") from None
        declared = graph.values[node.output].type
        if not declared.contains(proven.type):
            raise GraphError(f"node '{node.name}' ({node.op.kind}) can give {proven.type}, but '{node.output}' is declared "
                             f"{declared}; widen the type or clip before it")
        ranges[node.output] = proven
    return ranges
