"""Plans: which hardware runs each layer, and how parallel.

A plan is a TOML file that a person can read, edit and diff.  `Plan` is its content; folding numbers are checked against
the network when a design is made from both (`design.make_design`).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intir import BitwrightError, Graph
from intir.whole import unreadable, write_whole

from .devices import DEVICES
from .engines.memories import STYLES
from .engines.mvu import ORDERS
from .engines.products import MULTIPLIERS

VERSION = 1
FAMILIES = ("xilinx", "ecp5", "generic")
MIN_CLOCK_MHZ, MAX_CLOCK_MHZ = 0.001, 10_000
#: What a design is controlled by: registers behind AXI4-Lite, or nothing but its reset.
CONTROLS = ("axi-lite", "none")


#: Keys of a layer that choose between realisations, and the words they take.
CHOICES = {"order": ORDERS, "weight_memory": STYLES, "window_memory": STYLES, "multiplier": MULTIPLIERS,
           "weights": ("built_in", "loaded")}
#: Keys of a sparse engine that are numbers, and their bounds; see `engines.eie`.
NUMBERS = {"queue_depth": (2, 1024), "index_bits": (1, 8), "code_bits": (1, 8), "read_entries": (1, 256),
           "entries": (1, 2**20)}
#: Keys of a layer that are true or false.
SWITCHES = ("reloadable",)
#: Every key that chooses between realisations.
OPTIONS = (*CHOICES, "through", *NUMBERS, *SWITCHES)


class PlanError(BitwrightError):
    """A plan is not readable, or does not fit its network."""


@dataclass(frozen=True)
class LayerPlan:
    """How one layer is built.

    Parameters
    ----------
    engine : str
    pe, simd : int
        Outputs and inputs computed at a time; `simd` only for engines that sum over inputs, and for `vvu` and `pool` all taps of
        a window or 1, which None is, too.
    order : str or None
        For `mvu`: which loop is inside, ``outputs`` (default) or ``inputs``; see `engines.mvu`.
    fifo_depth : tuple of int, or None
        Words in the queue behind the layer, one for each reader of its output; None lets the simulator choose the least
        that costs no cycle.
    weight_memory, window_memory : str or None
        Where the layer keeps its weights, and the rows of its window: ``auto`` (default), ``distributed`` or ``block``.
    multiplier : str or None
        Where products are computed: ``auto`` (default), ``logic`` or ``dsp``; see `engines.products`.
    weights : str or None
        For `eie`: ``built_in`` (default), or ``loaded`` over a stream of their own.
    through : str or None
        For `eie`: the node with which the layer ends, a MatMul; by default its first.
    queue_depth, index_bits, code_bits, read_entries, entries : int or None
        For `eie`, where `pe` is its PEs and `simd` the elements that it scans and drains at a time; see `engines.eie`.
    reloadable : bool or None
        For `mvu` and `vvu`: weights and thresholds can be written while the hardware runs; see docs/blocks/control.md.
    """

    engine: str
    pe: int
    simd: int | None = None
    order: str | None = None
    fifo_depth: tuple[int, ...] | None = None
    weight_memory: str | None = None
    window_memory: str | None = None
    multiplier: str | None = None
    weights: str | None = None
    through: str | None = None
    queue_depth: int | None = None
    index_bits: int | None = None
    code_bits: int | None = None
    read_entries: int | None = None
    entries: int | None = None
    reloadable: bool | None = None

    @property
    def folding(self) -> str:
        """As the plan has it, for errors."""
        return f"pe = {self.pe}" + (f", simd = {self.simd}" if self.simd else "")

    @property
    def options(self) -> dict[str, str | int | bool]:
        """What chooses between realisations, where it is given."""
        return {key: value for key in OPTIONS if (value := getattr(self, key)) is not None}


@dataclass(frozen=True)
class Plan:
    """How a network is built.

    Parameters
    ----------
    network : str
        Name of the graph.
    structure : str
        Fingerprint of its nodes and shapes (`fingerprint`); a retrained network of the same structure keeps its plan.
    layers : name of a layer's first node -> LayerPlan, in the order of the graph
    family : str
        FPGA family that popcount cells are made for: one of `FAMILIES`.
    clock_mhz : float
        Clock for turning cycles into seconds.
    input_fifo_depth : tuple of int
        Words in the queues behind the input, one for each reader, where several layers read it; else empty.
    device : str or None
        One of `devices.DEVICES`, of that family: a design that does not fit it is refused.
    control : str
        One of `CONTROLS`.
    """

    network: str
    structure: str
    layers: dict[str, LayerPlan] = field(default_factory=dict)
    family: str = "xilinx"
    clock_mhz: float = 100.0
    input_fifo_depth: tuple[int, ...] = ()
    device: str | None = None
    control: str = CONTROLS[0]


def fingerprint(graph: Graph) -> str:
    """Sixteen hex digits that depend on the nodes, their operations, order and shapes, not on weights."""
    digest = hashlib.sha256()
    for interface in graph.inputs:
        digest.update(repr(("input", interface.value, graph.values[interface.value].shape)).encode())
    for node in graph.nodes:
        digest.update(repr((node.name, node.op.kind, node.inputs, graph.values[node.output].shape)).encode())
    return digest.hexdigest()[:16]


def dumps(plan: Plan) -> str:
    """The plan as TOML."""
    lines = [
        "# Which hardware runs each layer, and how parallel. Edit, then pass it to `bitwright sim` and `bitwright build`.",
        "# pe: outputs at a time (divides the layer's outputs); simd: inputs at a time (divides its inputs).",
        "# order: \"outputs\" finishes outputs one group after the other, \"inputs\" uses each input for all outputs as it comes.",
        "# fifo_depth: words in the queue behind the layer (one for each reader); left out, the simulator picks the least that",
        "# costs no cycle.",
        "# weight_memory, window_memory: \"distributed\" (LUTs) or \"block\" (block RAM); left out, synthesis decides.",
        "# multiplier: \"logic\" (LUTs) or \"dsp\"; left out, LUTs where both operands together have up to 8 bits, else DSPs.",
        "# pe and simd both the greatest: the weights are built into logic; order, weight_memory and multiplier mean nothing then.",
        "# reloadable = true: weights and thresholds can be written while the hardware runs.",
        "# control = \"none\", of the whole: no registers behind AXI4-Lite; see docs/blocks/control.md.",
        "# engine = \"eie\", pe PEs: pruned products from this one through another on one sparse engine; see docs/blocks/eie.md.",
        "",
        f"version = {VERSION}",
        f"network = {_quoted(plan.network)}",
        f"structure = {_quoted(plan.structure)}",
        f"family = {_quoted(plan.family)}        # {', '.join(FAMILIES)}",
        *([f"device = {_quoted(plan.device)}"] if plan.device else []),
        f"clock_mhz = {plan.clock_mhz!r}",
        *([f"control = {_quoted(plan.control)}"] if plan.control != CONTROLS[0] else []),
        *([f"input_fifo_depth = {_depths(plan.input_fifo_depth)}"] if plan.input_fifo_depth else []),
    ]
    for name, layer in plan.layers.items():
        lines += ["", f"[layers.{_quoted(name)}]", f"engine = {_quoted(layer.engine)}", f"pe = {layer.pe}"]
        if layer.simd is not None:
            lines.append(f"simd = {layer.simd}")
        lines += [f"{key} = {_value(value)}" for key, value in layer.options.items()]
        if layer.fifo_depth is not None:
            lines.append(f"fifo_depth = {_depths(layer.fifo_depth)}")
    return "\n".join(lines) + "\n"


def loads(text: str, where: str = "plan") -> Plan:
    """Read a plan.

    Raises
    ------
    PlanError
        If it is no TOML, misses or misspells a key, or holds a value of the wrong kind.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: TOMLDecodeError, or an integer of thousands of digits
        raise PlanError(f"{where} is no valid TOML: {error}; mend that line or write a new plan with `bitwright plan`") from None
    _known(data, {"version", "network", "structure", "family", "device", "control", "clock_mhz", "input_fifo_depth", "layers"},
           where)
    version = data.get("version")
    if version != VERSION or type(version) is not int:  # True == 1
        has = "no version" if version is None else f"version {version!r}"
        raise PlanError(f"{where} has {has}; this bitwright reads version {VERSION}")
    clock = data.get("clock_mhz", 100.0)
    if isinstance(clock, bool) or not isinstance(clock, (int, float)) or not MIN_CLOCK_MHZ <= clock <= MAX_CLOCK_MHZ:
        raise PlanError(f"{where}: clock_mhz is {clock!r}; give a clock in MHz between {MIN_CLOCK_MHZ} and {MAX_CLOCK_MHZ}")
    family = data.get("family", "xilinx")
    if family not in FAMILIES:
        raise PlanError(f"{where}: family is {family!r}; choose one of {', '.join(FAMILIES)}")
    device = data.get("device")
    if device is not None:
        check_device(device, family, where)
    control = data.get("control", CONTROLS[0])
    if control not in CONTROLS:
        raise PlanError(f"{where}: control is {control!r}; choose one of {', '.join(CONTROLS)}")
    tables = data.get("layers", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise PlanError(f"{where}: 'layers' holds {tables!r}; give one table [layers.NAME] per layer")
    layers = {name: _layer(table, f"{where}, layer '{name}'") for name, table in tables.items()}
    return Plan(_text(data, "network", where), _text(data, "structure", where), layers, family, float(clock),
                _fifo_depth(data, "input_fifo_depth", where) or (), device, control)


def check_device(device: object, family: str, where: str) -> None:
    """Raise PlanError unless there is such a device, of that family."""
    if device not in list(DEVICES):
        raise PlanError(f"{where}: device is {device!r}, which is not known; choose one of {', '.join(DEVICES)}")
    fitting = [name for name, one in DEVICES.items() if one.family == family]
    if device not in fitting:
        choices = f"choose one of {', '.join(fitting)}" if fitting else "leave it out, or choose the family xilinx or ecp5"
        raise PlanError(f"{where}: device is {device!r}, which is none of family {family}; {choices}")


def load(path: str | Path) -> Plan:
    """Read a plan file.  Raises PlanError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise PlanError(f"cannot read the plan '{path}': {unreadable(error)}; give the path of a plan TOML file") from None
    return loads(text, f"plan '{path}'")


def save(plan: Plan, path: str | Path) -> None:
    """Write a plan file, whole or not at all.  Raises PlanError where that is impossible."""
    try:
        write_whole(path, dumps(plan).encode())
    except OSError as error:
        raise PlanError(f"cannot write the plan '{path}': {error.strerror}; choose a folder that exists and is writable") from None


def _layer(table: dict[str, Any], where: str) -> LayerPlan:
    _known(table, {"engine", "pe", "simd", "fifo_depth", *OPTIONS}, where)
    for key in SWITCHES:
        if not isinstance(table.get(key, False), bool):
            raise PlanError(f"{where}: {key} is {table[key]!r}; write true or false")
    for key, words in CHOICES.items():
        if table.get(key) not in (None, *words):
            raise PlanError(f"{where}: {key} is {table[key]!r}; choose one of {', '.join(words)}")
    return LayerPlan(_text(table, "engine", where), _count(table, "pe", where, 1), _count(table, "simd", where, 1, needed=False),
                     fifo_depth=_fifo_depth(table, "fifo_depth", where), **{key: table.get(key) for key in CHOICES},
                     through=_text(table, "through", where) if "through" in table else None,
                     **{key: _count(table, key, where, *bounds, needed=False) for key, bounds in NUMBERS.items()},
                     **{key: table.get(key) for key in SWITCHES})


def _value(value: str | int | bool) -> str:
    return _quoted(value) if isinstance(value, str) else str(value).lower()


def _depths(depths: tuple[int, ...]) -> str:
    return str(depths[0]) if len(depths) == 1 else f"[{', '.join(map(str, depths))}]"


def _fifo_depth(table: dict[str, Any], key: str, where: str) -> tuple[int, ...] | None:
    """One whole number, or a list of them."""
    value = table.get(key)
    if value is None:
        return None
    listed = value if isinstance(value, list) else [value]
    if not listed:
        raise PlanError(f"{where}: {key} is an empty list; give one depth for each reader, or leave it out")
    return tuple(_count({key: one}, key, where, 2) for one in listed)


def _count(table: dict[str, Any], key: str, where: str, least: int, most: int = 2**20, needed: bool = True) -> Any:
    value = table.get(key)
    if value is None and not needed:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise PlanError(f"{where}: {key} is {_shown(value)}; give a whole number from {least} to {most}")
    return value


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str):
        raise PlanError(f"{where}: {key} is {_shown(value)}; give it as text in quotes")
    return value


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)


def _known(table: dict[str, Any], keys: set[str], where: str) -> None:
    for key in table:
        if key not in keys:
            raise PlanError(f"{where}: unknown key '{key}'; known are {', '.join(sorted(keys))}")


def _quoted(text: str) -> str:
    escaped = re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\u{ord(match[0]):04x}", text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'
