"""Machines: an array, its memories and its DRAM, as a TOML file states them."""

from __future__ import annotations

from dataclasses import dataclass

#: Kinds of arrays.
ARRAYS = ("systolic", "popcount", "row_stationary", "eie", "dataflow")
#: What stays in a systolic array while the rest moves.
DATAFLOWS = ("weight_stationary", "output_stationary", "input_stationary")
#: What a memory may hold.
CONTENTS = ("activations", "weights", "sums")
#: Ways to compute a convolution.
ALGORITHMS = ("direct", "im2col", "winograd", "fft")


@dataclass(frozen=True)
class Array:
    """What multiplies.

    Parameters
    ----------
    kind : str
        One of `ARRAYS`; ``dataflow`` is a design that is generated for an FPGA and simulated exactly.
    rows, columns : int
        Elements; an ``eie`` array has `rows` processing elements and one column.
    dataflow : str
        One of `DATAFLOWS`, for a systolic or popcount array.
    lanes : int
        Products that an element sums in a cycle: 64 in an XNOR array of 64-bit words.
    arithmetic : str
        ``integer``, ``binary``, ``ternary`` or ``float``.
    activation_bits, weight_bits, sum_bits : int
        Of an element's operands; wider ones take several passes.
    overlapped : bool
        Whether the next fold's operands enter while the last one's are still on their way.
    eager : bool
        Whether it begins with a layer's first tile as soon as the first words of that are there.
    padded : bool
        Whether operands lie in memory as words that fill the array's rows, columns and lanes, whatever of them a tile uses.
    pipeline_cycles : int
        Registers between the memories and the elements, and behind these.
    device : str
        Of a ``dataflow`` array: one of `hwsim.devices.DEVICES`.
    code_bits : int
        Of an ``eie`` array's entries in layers whose values 4 bits do not tell apart.
    """

    kind: str
    rows: int
    columns: int
    dataflow: str = "output_stationary"
    lanes: int = 1
    arithmetic: str = "integer"
    activation_bits: int = 8
    weight_bits: int = 8
    sum_bits: int = 32
    overlapped: bool = False
    eager: bool = False
    padded: bool = False
    pipeline_cycles: int = 0
    device: str = ""
    code_bits: int = 4

    @property
    def peak_macs(self) -> int:
        """Multiply-accumulates a cycle, all elements busy."""
        return self.rows * self.columns * self.lanes


@dataclass(frozen=True)
class Sram:
    """An on-chip memory.

    Parameters
    ----------
    name : str
    bytes : int
        All of it, both halves if double-buffered.
    width_bits : int
        Of a port's word; each of `banks` gives one a cycle.
    banks : int
    holds : tuple of str
        Some of `CONTENTS`.
    double_buffered : bool
    """

    name: str
    bytes: int
    width_bits: int
    banks: int = 1
    holds: tuple[str, ...] = CONTENTS
    double_buffered: bool = True

    @property
    def usable_bytes(self) -> int:
        """What a tile may fill."""
        return self.bytes // 2 if self.double_buffered else self.bytes


@dataclass(frozen=True)
class Dram:
    """Off-chip memory.

    Parameters
    ----------
    kind : str
        ``DDR3``, ``DDR4``, ``LPDDR4``, ``LPDDR5``, ``HBM2``, ...
    gb_per_s : float
        Bandwidth that can be sustained, 1e9 bytes a second.
    latency_ns : float
        From a request to the first word.
    burst_bytes : int
        What a request brings at least.
    """

    kind: str
    gb_per_s: float
    latency_ns: float = 100.0
    burst_bytes: int = 64


@dataclass(frozen=True)
class Machine:
    """An accelerator.

    Parameters
    ----------
    name, description, source : str
    node_nm : int
    clock_mhz : float
    array : Array
    srams : tuple of Sram
    dram : Dram
    register_bytes : int
        Register file of an element; 0 for none.
    vector_lanes : int
        Elements a cycle that are added, pooled, compared or looked up outside of the array.
    energy : str
        Name of an energy table, or path of one.
    algorithms : tuple of str
        Of `ALGORITHMS`, those that it can run.
    """

    name: str
    description: str
    source: str
    node_nm: int
    clock_mhz: float
    array: Array
    srams: tuple[Sram, ...]
    dram: Dram
    register_bytes: int = 0
    vector_lanes: int = 1
    energy: str = "45nm"
    algorithms: tuple[str, ...] = ("direct",)
