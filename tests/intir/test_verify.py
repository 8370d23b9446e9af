"""Every rule of the verifier, broken once: the message names the node, the rule, the values and what to do."""


from __future__ import annotations

import dataclasses
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest

from intir import (
    Add,
    Affine,
    Clip,
    Graph,
    GraphBuilder,
    GraphError,
    HostStep,
    IntType,
    MatMul,
    Node,
    Reshape,
    Value,
    unsigned,
    verify,
)
from intir.ops import Op
from intir.verify import RULES


def good() -> Graph:
    build = GraphBuilder("g")
    x = build.input("x", (2,), unsigned(2))
    y = build.node(MatMul(np.array([[1, 2], [3, -1]])), x, name="y")
    build.output(y)
    return build.build()


def values(graph: Graph, **changed: Value) -> Graph:
    return dataclasses.replace(graph, values=MappingProxyType({**graph.values, **changed}))


def node(graph: Graph, **changed: object) -> Graph:
    return dataclasses.replace(graph, nodes=(dataclasses.replace(graph.nodes[0], **changed),))


def interface(graph: Graph, **changed: object) -> Graph:
    return dataclasses.replace(graph, inputs=(dataclasses.replace(graph.inputs[0], **changed),))


class Unknown(Clip):
    """Registers itself; taken out of the table again below."""


def unknown() -> Op:
    from intir import OPS

    OPS.pop("Unknown", None)
    return Unknown(0, 1)


G = good()
HALF = Fraction(1, 2)
BROKEN: list[tuple[str, Graph, str]] = [
    ("names", dataclasses.replace(G, name="1 bad"),
     "the name '1 bad' is not legal: names start with a letter or underscore and have up to 200 of letters, digits and _ . : / -; rename it"),
    ("structure", dataclasses.replace(G, outputs=()), "graph 'g' has 1 inputs and 0 outputs; it needs at least one of each"),
    ("structure", dataclasses.replace(G, inputs=G.inputs * 2), "input 'x' is declared twice or has no value; declare each input once"),
    ("structure", node(G, inputs=("z",)),
     "node 'y' (MatMul) reads 'z', which nothing makes before it; order the nodes so that producers come first"),
    ("structure", node(G, output="x"), "node 'y' makes 'x', which is made twice or has no value; give each node an output of its own"),
    ("structure", dataclasses.replace(G, nodes=(*G.nodes, dataclasses.replace(G.nodes[0], output="w"))),
     "the name 'y' belongs to two nodes; rename one"),
    ("structure", values(G, w=Value("w", (1,), unsigned(1))), "value 'w' is made by no node and is no input; remove it"),
    ("structure", values(G, y=Value("w", (2,), unsigned(1))), "value 'y' calls itself 'w'; use one name"),
    ("structure", dataclasses.replace(G, outputs=(dataclasses.replace(G.outputs[0], value="w"),)),
     "output 'w' is made by no node; name an existing value"),
    ("operations", node(G, op=unknown()), "node 'y' has the operation 'Unknown', which the IR does not know; known are Add, "),
    ("operations", node(G, op=Add()), "node 'y' (Add) has 1 inputs; it takes 2"),
    ("operations", node(G, inputs=()), "node 'y' (MatMul) has 0 inputs; it takes 1"),
    ("shapes", values(G, x=Value("x", (0,), unsigned(2))), "value 'x' has shape (0,); every size must be a positive integer"),
    ("shapes", values(G, x=Value("x", (), unsigned(2))), "value 'x' has shape (); it needs at least one axis, the last being the channels"),
    ("shapes", values(G, x=Value("x", (2**16, 2**16), unsigned(2))),
     "value 'x' of shape (65536, 65536) has 4294967296 elements; the limit is 2**31"),
    ("shapes", values(G, x=Value("x", (2**26,), unsigned(2))),
     "value 'x' of shape (67108864,) brings the channels of all values to 67108864; the limit is 2**24, so split the graph"),
    ("shapes", values(G, x=Value("x", (3,), unsigned(2))),
     "node 'y': MatMul: the input has shape (3,), but the weights take 2 values along the last axis"),
    ("shapes", values(G, y=Value("y", (3,), unsigned(9))), "node 'y' (MatMul) makes shape (2,) from [(2,)], but 'y' is declared (3,); "
     "declare the former"),
    ("ranges", values(G, y=Value("y", (2,), IntType(-3, 11))),
     "node 'y' (MatMul) can give [-3, 12], but 'y' is declared [-3, 11]; widen the type or clip before it"),
    ("ranges", values(G, y=Value("y", (2,), IntType(-4, 12, 2))),
     "node 'y' (MatMul) can give [-3, 12], but 'y' is declared [-4, 12] step 2; widen the type or clip before it"),
    ("interfaces", interface(G, source_shape=(3,)), "'x' has shape (2,), but its source shape (3,) has another number of elements; "
     "correct the source shape"),
    ("interfaces", interface(G, source_shape=(2,), perm=(1,)),
     "'x': (1,) is no permutation of the axes of its source shape (2,); correct the permutation"),
    ("interfaces", interface(G, affine=Affine((HALF,) * 3)), "'x' has (2,) channels, but its scale or offset has 3; give one, or one per channel"),
    ("interfaces", interface(G, affine=Affine((Fraction(0),))), "'x' has a scale of 0; a scale must not be zero"),
    ("interfaces", interface(G, host=HostStep("h", None, ((HALF, HALF),), ((False, False),))),
     "'x': the host step's thresholds must be sorted, one per step of u2, for one or all channels, with as many tie rules"),
]


@pytest.mark.parametrize(("rule", "graph", "message"), BROKEN, ids=[f"{rule}-{i}" for i, (rule, _, _) in enumerate(BROKEN)])
def test_a_broken_rule_is_named(rule: str, graph: Graph, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        verify(graph)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(f"[rule: {rule}]")


def test_every_rule_is_broken() -> None:
    assert {rule for rule, _, _ in BROKEN} == {name for name, _, _ in RULES}


def test_the_unbroken_graph_passes() -> None:
    verify(G)


def test_the_builder_names_what_does_not_fit() -> None:
    build = GraphBuilder("g")
    x = build.input("x", (2,), unsigned(2))
    with pytest.raises(GraphError, match=r"node 'r': Reshape: an input of shape \(2,\) cannot become \(3,\)"):
        build.node(Reshape((3,)), x, name="r")
    with pytest.raises(GraphError, match="node 'add0' \\(Add\\) reads 'z', which nothing makes before it; add its producer first"):
        build.node(Add(), x, "z")
    with pytest.raises(GraphError, match="the name 'x' is taken; give each value a name of its own"):
        build.input("x", (2,), unsigned(2))
    with pytest.raises(GraphError, match=r"node 'add0' \(Add\) has 1 inputs; it takes 2"):
        build.node(Add(), x)


def test_nodes_compare_by_what_they_are() -> None:
    assert good() == G
    assert G.nodes[0] == Node("y", MatMul(np.array([[1, 2], [3, -1]])), ("x",), "y")
    assert G.nodes[0] != Node("y", MatMul(np.array([[1, 2], [3, 0]])), ("x",), "y")
