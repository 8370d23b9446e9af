"""A graph as plain data, and back: what the file format and the text form share.

Plain data are dicts, lists, strings, ints, booleans and None.  `decode` trusts nothing: every field is checked for its
presence, its type and its size before it is used, so any input gives a graph or a FileFormatError.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Callable
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import FileFormatError, GraphError
from .graph import Affine, Graph, HostStep, Interface, Node, Value
from .ops import OPS, Op
from .types import IntType
from .verify import verify

FORMAT, VERSION = "intir", 1

#: Digits that a numerator or denominator may have; a float64 needs at most 325.
MAX_DIGITS = 4000
_FRACTION = re.compile(rf"(-?\d{{1,{MAX_DIGITS}}})(?:/(\d{{1,{MAX_DIGITS}}}))?")

#: Where an attribute's array goes: (number of the node, name of the attribute, array) -> plain data.
Store = Callable[[int, str, NDArray[np.int64]], Any]
#: The inverse: plain data -> array.
Fetch = Callable[[Any], NDArray[Any]]


def encode(graph: Graph, store: Store) -> dict[str, Any]:
    """The graph as plain data; arrays go through `store`.  Raises FileFormatError if a fraction is too long."""
    order = [one.value for one in graph.inputs] + [node.output for node in graph.nodes]
    return {
        "format": FORMAT, "version": VERSION, "name": graph.name,
        "inputs": [_encode_interface(one) for one in graph.inputs],
        "outputs": [_encode_interface(one) for one in graph.outputs],
        "values": [{"name": name, "shape": list(graph.values[name].shape), "type": str(graph.values[name].type)}
                   for name in order],
        "nodes": [{"name": node.name, "op": node.op.kind, "inputs": list(node.inputs), "output": node.output,
                   "source": node.source,
                   "attributes": {key: encode_attribute(value, functools.partial(store, number, key))
                                  for key, value in node.op.attributes().items()}}
                  for number, node in enumerate(graph.nodes)],
    }


def decode(plain: Any, fetch: Fetch) -> Graph:
    """The verified graph of plain data.  Raises FileFormatError naming the field that is wrong."""
    top = fields(plain, "the header", format=str, version=int)
    if top["format"] != FORMAT or top["version"] != VERSION:
        raise FileFormatError(f"it says format '{top['format'][:40]}' version {top['version']}; this bitwright reads "
                              f"'{FORMAT}' version {VERSION}, so write it again with a matching version")
    top = fields(plain, "the header", exact=True, format=str, version=int, name=str, inputs=list, outputs=list, values=list,
                 nodes=list)
    values: dict[str, Value] = {}
    for number, item in enumerate(top["values"]):
        value = fields(item, f"values[{number}]", exact=True, name=str, shape=list, type=str)
        if value["name"] in values:
            raise FileFormatError(f"value '{value['name'][:60]}' is declared twice; rename one")
        values[value["name"]] = Value(value["name"], _ints(value["shape"], f"values[{number}].shape"), IntType.parse(value["type"]))
    graph = Graph(top["name"],
                  tuple(_decode_interface(item, f"inputs[{i}]") for i, item in enumerate(top["inputs"])),
                  tuple(_decode_interface(item, f"outputs[{i}]") for i, item in enumerate(top["outputs"])),
                  tuple(_decode_node(item, f"nodes[{i}]", fetch) for i, item in enumerate(top["nodes"])),
                  MappingProxyType(values))
    verify(graph)
    return graph


def encode_attribute(value: Any, store: Callable[[NDArray[np.int64]], Any]) -> Any:
    """One attribute of an operation as plain data."""
    if isinstance(value, np.ndarray):
        return store(value)
    if isinstance(value, IntType):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def decode_attributes(name: str, plain: dict[str, Any], where: str, fetch: Fetch) -> Op:
    """An operation from its name and its attributes.  Raises FileFormatError or GraphError."""
    if name not in OPS:
        raise FileFormatError(f"{where}: the operation '{name[:60]}' is unknown; known are {', '.join(sorted(OPS))}")
    kinds = attribute_kinds(name)
    if set(plain) != set(kinds):
        raise FileFormatError(f"{where}: {name} has the attributes {', '.join(kinds) or 'none'}, but found are "
                              f"{', '.join(sorted(plain))[:200] or 'none'}; give exactly those")
    attributes: dict[str, Any] = {}
    for key, kind in kinds.items():
        field, item = f"{where}.{key}", plain[key]
        if kind is IntType:
            attributes[key] = IntType.parse(typed(item, str, field))
        elif kind in (int, str):
            attributes[key] = typed(item, kind, field)
        elif kind is tuple:
            attributes[key] = _ints(typed(item, list, field), field)
        else:
            attributes[key] = fetch(item)
    return OPS[name](**attributes)


@functools.cache
def attribute_kinds(name: str) -> dict[str, type]:
    """Name of each attribute of an operation -> int, str, tuple (of int), IntType or numpy.ndarray."""
    op = OPS[name]
    hints = typing.get_type_hints(op)
    fields = dataclasses.fields(op)  # type: ignore[arg-type]
    return {one.name: typing.get_origin(hints[one.name]) or hints[one.name] for one in fields}


def fields(plain: Any, where: str, *, exact: bool = False, **kinds: type) -> dict[str, Any]:
    """The named fields of a dict, each of its type; `exact` refuses any other field."""
    typed(plain, dict, where)
    for key, kind in kinds.items():
        if key not in plain:
            raise FileFormatError(f"{where}: the field '{key}' is missing; add it")
        typed(plain[key], kind, f"{where}.{key}")
    if exact and (extra := set(plain) - set(kinds)):
        raise FileFormatError(f"{where}: the field {min(extra)[:60]!r} is unknown; remove it")
    return {key: plain[key] for key in kinds}


def typed(value: Any, kind: type, where: str) -> Any:
    """The value if it is of a plain type.  Raises FileFormatError."""
    if type(value) is not kind:
        raise FileFormatError(f"{where} is {str(value)[:40]!r}; it must be of type {kind.__name__}")
    return value


def _ints(items: list[Any], where: str) -> tuple[int, ...]:
    return tuple(typed(item, int, where) for item in items)


def encode_fraction(value: Fraction) -> str:
    """``n/d`` in lowest terms, ``n`` for a whole number."""
    if max(abs(value.numerator), value.denominator).bit_length() > 3 * MAX_DIGITS:
        raise FileFormatError(f"a fraction has more than {MAX_DIGITS} digits; round the scale it comes from")
    return str(value)


def decode_fraction(text: Any, where: str) -> Fraction:
    """Inverse of `encode_fraction`."""
    match = _FRACTION.fullmatch(typed(text, str, where))
    if not match or (match[2] is not None and not int(match[2])):
        raise FileFormatError(f"{where} is {text[:40]!r}; write a fraction n/d of integers with d above 0")
    value = Fraction(int(match[1]), int(match[2] or 1))
    if max(abs(value.numerator), value.denominator).bit_length() > 3 * MAX_DIGITS:
        raise FileFormatError(f"{where} has more than {MAX_DIGITS} digits; round the scale it comes from")
    return value


def _encode_interface(one: Interface) -> dict[str, Any]:
    host = one.host and {
        "description": one.host.description,
        "scale": None if one.host.scale is None else encode_fraction(one.host.scale),
        "thresholds": [[encode_fraction(t) for t in row] for row in one.host.thresholds],
        "strict": [[bool(s) for s in row] for row in one.host.strict],
    }
    shape = None if one.source_shape is None else list(one.source_shape)
    return {"value": one.value, "source_shape": shape, "perm": list(one.perm),
            "scale": [encode_fraction(s) for s in one.affine.scale],
            "offset": [encode_fraction(o) for o in one.affine.offset], "host": host}


def _decode_interface(plain: Any, where: str) -> Interface:
    host = plain.get("host") if isinstance(plain, dict) else None
    shaped = isinstance(plain, dict) and plain.get("source_shape") is not None
    one = fields(plain, where, exact=True, value=str, source_shape=list if shaped else type(None), perm=list, scale=list,
                 offset=list, host=dict if host is not None else type(None))
    shape = _ints(one["source_shape"], f"{where}.source_shape") if shaped else None
    return Interface(one["value"], shape, _ints(one["perm"], f"{where}.perm"),
                     Affine(_fractions(one["scale"], f"{where}.scale"), _fractions(one["offset"], f"{where}.offset")),
                     None if host is None else _decode_host(host, f"{where}.host"))


def _decode_host(plain: Any, where: str) -> HostStep:
    scaled = plain.get("scale") is not None
    host = fields(plain, where, exact=True, description=str, scale=str if scaled else type(None), thresholds=list, strict=list)
    return HostStep(
        host["description"], decode_fraction(host["scale"], f"{where}.scale") if scaled else None,
        tuple(_fractions(typed(row, list, f"{where}.thresholds"), f"{where}.thresholds") for row in host["thresholds"]),
        tuple(tuple(typed(s, bool, f"{where}.strict") for s in typed(row, list, f"{where}.strict")) for row in host["strict"]))


def _decode_node(plain: Any, where: str, fetch: Fetch) -> Node:
    node = fields(plain, where, exact=True, name=str, op=str, inputs=list, output=str, source=str, attributes=dict)
    inputs = tuple(typed(value, str, f"{where}.inputs") for value in node["inputs"])
    try:
        op = decode_attributes(node["op"], node["attributes"], f"{where}.attributes", fetch)
    except GraphError as error:
        raise FileFormatError(f"{where} ('{node['name'][:60]}'): {error}") from None
    return Node(node["name"], op, inputs, node["output"], node["source"])


def _fractions(items: list[Any], where: str) -> tuple[Fraction, ...]:
    return tuple(decode_fraction(item, where) for item in items)
