"""The readable text form, for people and diffs: one line per value, arrays inline; it parses back exactly.

::

    intir 1 tiny
    input x (2,) u8
    node y (1,) [-255, 255] = MatMul(x) weights=[[1],[-1]]
    output y scale=["1/2"]

After the operation come its attributes, after inputs and outputs the fields of their interface that differ from the
defaults; each is ``name=JSON``.  A node that is not called like its output has ``name=``, one that knows its origin
``source=``.  Lines that start with # and empty lines are skipped.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import codec, strict_json
from .errors import BitwrightError, FileFormatError
from .graph import Graph

_HEAD = re.compile(r"(\S+) (\d{1,9}) (\S+)")
_VALUE = re.compile(r"(?P<name>\S+) \((?P<shape>[\d, ]*)\) (?P<type>\w+|\[[^\]]*\](?: step \d+)?)")
_CALL = re.compile(r" = (?P<op>\w+)\((?P<inputs>[^()]*)\)")
_KEY = re.compile(r" (\w+)=")
_INTERFACE = {"source_shape": None, "perm": [], "scale": ["1"], "offset": ["0"], "host": None}


def dumps(graph: Graph) -> str:
    """The text of a graph; the same graph always gives the same text.  Raises FileFormatError if a fraction is too long."""
    plain = codec.encode(graph, lambda number, key, array: array.tolist())
    types = {value["name"]: f"{value['name']} {tuple(value['shape'])!s} {value['type']}" for value in plain["values"]}
    lines = [f"{codec.FORMAT} {codec.VERSION} {graph.name}"]
    lines += [f"input {types[one['value']]}{_interface(one)}" for one in plain["inputs"]]
    for node in plain["nodes"]:
        extra = {key: node[key] for key, default in (("name", node["output"]), ("source", "")) if node[key] != default}
        call = f"{node['op']}({', '.join(node['inputs'])})"
        lines.append(f"node {types[node['output']]} = {call}{_pairs(node['attributes'] | extra)}")
    lines += [f"output {one['value']}{_interface(one)}" for one in plain["outputs"]]
    return "\n".join(lines) + "\n"


def loads(text: str) -> Graph:
    """The verified graph of a text.

    Raises
    ------
    FileFormatError, GraphError
        Naming the line, or the rule of the IR that the graph breaks.
    """
    lines = [(number, line.rstrip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    head = _HEAD.fullmatch(lines[0][1]) if lines else None
    if not head:
        raise FileFormatError("the text does not begin with 'intir <version> <name>'; add that line")
    plain: dict[str, Any] = {"format": head[1], "version": int(head[2]), "name": head[3], "inputs": [], "outputs": [], "values": [],
                             "nodes": []}
    for number, line in lines[1:]:
        word, _, rest = line.partition(" ")
        where = f"line {number}"
        if word == "output":
            name, space, pairs = rest.partition(" ")
            plain["outputs"].append({"value": name, **_INTERFACE, **_parse_pairs(space + pairs, where)})
            continue
        value = _VALUE.match(rest)
        if word not in ("input", "node") or not value:
            raise FileFormatError(f"{where} is {line[:40]!r}; it must be 'input NAME (SHAPE) TYPE', "
                                  "'node NAME (SHAPE) TYPE = ...' or 'output NAME'")
        shape = [int(size) for size in re.findall(r"\d{1,10}", value["shape"])]
        plain["values"].append({"name": value["name"], "shape": shape, "type": value["type"]})
        rest = rest[value.end():]
        if word == "input":
            plain["inputs"].append({"value": value["name"], **_INTERFACE, **_parse_pairs(rest, where)})
            continue
        call = _CALL.match(rest)
        if not call:
            raise FileFormatError(f"{where}: {rest[:40]!r} follows the type; it must be ' = OPERATION(INPUTS)'")
        attributes = _parse_pairs(rest[call.end():], where)
        name, source = attributes.pop("name", value["name"]), attributes.pop("source", "")
        plain["nodes"].append({"name": name, "op": call["op"], "inputs": re.findall(r"[^\s,]+", call["inputs"]),
                               "output": value["name"], "source": source, "attributes": attributes})
    return codec.decode(plain, _array)


def _pairs(items: dict[str, Any]) -> str:
    return "".join(f" {key}={json.dumps(value, separators=(',', ':'))}" for key, value in items.items())


def _interface(one: dict[str, Any]) -> str:
    return _pairs({key: one[key] for key, default in _INTERFACE.items() if one[key] != default})


def _parse_pairs(text: str, where: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    at = 0
    while text[at:].strip():
        key = _KEY.match(text, at)
        if not key or key[1] in pairs:
            raise FileFormatError(f"{where}: {text[at:at + 40]!r} should be ' name=value', each name once")
        pairs[key[1]], at = strict_json.parse_prefix(text, key.end(), f"{where}, {key[1]}")
    return pairs


def _array(plain: Any) -> NDArray[Any]:
    if not isinstance(plain, list):
        raise FileFormatError(f"an array is {str(plain)[:40]!r}; write nested lists of integers")
    try:
        return np.array(plain)
    except (ValueError, OverflowError) as error:
        raise FileFormatError(f"an array has rows of different lengths or other faults ({str(error)[:60]}); mend it") from None


def load_text(path: str) -> Graph:
    """Read the text form from a file.  Raises FileFormatError."""
    try:
        with open(path, encoding="utf-8") as file:
            return loads(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"cannot read '{path}': {error}; give the path of a text written by intir.text.dumps") from None
    except BitwrightError as error:
        raise FileFormatError(f"'{path}': {error}") from None
