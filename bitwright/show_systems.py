"""Tables for people: machines, complexity, and what a network takes on a machine."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hwsim.systems.complexity import Complexity, LayerComplexity, Ratio
from hwsim.systems.machine import Array, Machine
from hwsim.systems.report import LayerReport, SystemReport

from .show import ruled


def machines(listed: list[Machine], console: Console) -> None:
    """The library, one row a machine."""
    table = ruled("machines: what a cycle multiplies, and what memory there is", "<machine", "<array", "MACs/cycle", "MHz",
                      "GMAC/s", "SRAM KiB", "<DRAM", "GB/s", "nm")
    _folding(table, 1)
    for one in listed:
        cells = ["", f"{one.clock_mhz:g}", "", ""]
        if one.array.kind != "dataflow":
            kib = sum(sram.bytes for sram in one.srams) / 1024
            cells = [f"{one.array.peak_macs:,}", cells[1], f"{_peak(one):,.0f}", f"{kib:,.0f}"]
        table.add_row(escape(one.name), escape(_array(one.array)), *cells, one.dram.kind, f"{one.dram.gb_per_s:g}",
                      str(one.node_nm))
    console.print(table)
    console.print("one in detail: bitwright machines NAME; a file to start an own one from: bitwright machines NAME --toml",
                  markup=False, highlight=False)


def _folding(table: Table, folded: int) -> None:
    """Let only one column of a wide table break its lines; names fold, no number is cut."""
    for number, column in enumerate(table.columns):
        column.no_wrap = number != folded
        column.overflow = "fold"


def _peak(one: Machine) -> float:
    """Multiply-accumulates, 1e9 a second."""
    return one.array.peak_macs * one.clock_mhz / 1e3


def _array(array: Array) -> str:
    if array.kind == "dataflow":
        return f"a design on {array.device}"
    size = f"{array.rows} elements" if array.kind == "eie" else f"{array.rows}x{array.columns}"
    lanes = f"x{array.lanes}" if array.lanes > 1 else ""
    bits = array.arithmetic if array.arithmetic in ("binary", "ternary") else (
        f"{'float' if array.arithmetic == 'float' else 'int'}{array.weight_bits}")
    stays = f", {array.dataflow[0].upper()}S" if array.kind in ("systolic", "popcount") else ""  # WS, OS, IS
    return f"{array.kind.replace('_', ' ')} {size}{lanes} {bits}{stays}"


def machine(one: Machine, console: Console) -> None:
    """One machine, key by key."""
    table = ruled(f"{one.name}: {one.description}", "<", "<")
    table.columns[1].no_wrap = False
    array = one.array
    stays = f"; {array.dataflow.replace('_', ' ')}" if array.kind in ("systolic", "popcount") else ""
    rows = [("source", one.source), ("array", _array(array) + stays)]
    if array.kind != "dataflow":
        bits = f"activations of {array.activation_bits}, weights of {array.weight_bits}, sums of {array.sum_bits} bits"
        rows += [("operands", bits),
                 ("peak", f"{array.peak_macs:,} multiply-accumulates a cycle, {_peak(one):,.1f} G a second"),
                 ("balance", f"{_peak(one) / one.dram.gb_per_s:,.1f} multiply-accumulates a byte of DRAM")]
    rows += [("clock", f"{one.clock_mhz:g} MHz, {one.node_nm} nm")]
    if one.register_bytes:
        rows += [("registers", f"{one.register_bytes:,} bytes an element")]
    for sram in one.srams:
        halves = ", double-buffered" if sram.double_buffered else ""
        words = f"words of {sram.width_bits} bits in {sram.banks} banks{halves}"
        rows.append((f"SRAM {sram.name}", f"{sram.bytes / 1024:,g} KiB, {words}: {', '.join(sram.holds)}"))
    dram = one.dram
    rows += [("DRAM", f"{dram.kind}, {dram.gb_per_s:g} GB/s, {dram.latency_ns:g} ns, bursts of {dram.burst_bytes} bytes"),
             ("vector unit", f"{one.vector_lanes} elements a cycle"), ("convolutions", ", ".join(one.algorithms)),
             ("energy table", one.energy)]
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    console.print(table)


def complexity(result: Complexity, console: Console) -> None:
    """A network's complexity, layer by layer and in all."""
    roofs = ("<roof",) if result.machine else ()
    on = f" on {result.machine}" if result.machine else ""
    table = ruled(f"{result.network}: complexity of one frame{on} (K, M, G of 1000; B packed bytes)", "<layer", "<arithmetic",
                      "weights", "MACs", "bit-ops", "weight B", "activ. B", "MAC/B", "parallel", *roofs)
    _folding(table, 0)
    for layer in result.layers:
        table.add_row(*_complexity_row(layer, bool(roofs)))
    table.add_section()
    total = result.total
    table.add_row("all", "", _short(total("parameters")), _short(total("macs")), _short(total("bit_operations")),
                  _short(total("weight_bytes")), _short(total("read_bytes") + total("written_bytes")),
                  f"{result.macs_per_byte:,.1f}", "")
    console.print(table)
    whole = ruled(f"{result.network}: the whole", "<", "")
    zeros = 1 - total("nonzero_parameters") / max(total("parameters"), 1)
    lines = [
        ("weights, of them zero", f"{total('parameters'):,.0f}, {zeros:.1%}"),
        ("multiply-accumulates, of them binary", f"{total('macs'):,.0f}, {total('binary_operations') / max(total('macs'), 1):.1%}"),
        ("bit-operations", f"{total('bit_operations'):,.0f}"),
        ("other operations", f"{total('other_operations'):,.0f}"),
        ("weights, packed; smaller than 32-bit floats", f"{total('weight_bytes'):,.0f} bytes; {result.compression:.1f}x"),
        ("thresholds, tables, biases", f"{total('constant_bytes'):,.0f} bytes"),
        ("activations alive at a time, at most", f"{result.peak_activation_bytes:,.0f} bytes"),
        ("least traffic, layer by layer", f"{total('traffic_bytes'):,.0f} bytes"),
        ("least traffic, activations on chip", f"{result.compulsory_bytes:,.0f} bytes"),
    ]
    if result.roofline_seconds is not None:
        lines.append(("least time under the roofline", f"{result.roofline_seconds * 1e3:,.3f} ms"))
    for name, value in lines:
        whole.add_row(name, value)
    console.print(whole)


def _complexity_row(layer: LayerComplexity, roofs: bool) -> list[str]:
    cells = [escape(layer.name), layer.arithmetic if layer.parameters else layer.kind, _short(layer.parameters), _short(layer.macs),
             _short(layer.bit_operations), _short(layer.weight_bytes), _short(layer.read_bytes + layer.written_bytes),
             f"{layer.macs_per_byte:,.1f}" if layer.macs else "", _short(layer.parallel_outputs)]
    if roofs and layer.roofline:
        cells.append(f"{layer.roofline.attainable_macs_per_s / layer.roofline.peak_macs_per_s:.0%} {layer.roofline.bound}")
    return cells


def comparison(this: Complexity, other: Complexity, ratios: tuple[Ratio, ...], console: Console) -> None:
    """Two networks, figure by figure."""
    table = ruled(f"{this.network} against {other.network}", "<", escape(this.network), escape(other.network), "times less")
    for one in ratios:
        scale, form = (1e3, ",.3f") if "time" in one.figure else (1, ",.0f")
        unit = " ms" if scale > 1 else ""
        table.add_row(escape(one.figure), f"{one.this * scale:{form}}{unit}", f"{one.other * scale:{form}}{unit}",
                      "" if one.ratio is None else f"{one.ratio:,.2f}")
    console.print(table)


def system(report: SystemReport, console: Console) -> None:
    """A network on a machine: layers in the order of time, then the whole."""
    frames = f"{report.batch} frames" if report.batch > 1 else "one frame"
    table = ruled(f"{report.network} on {report.machine}: {frames}, layer by layer (K, M, G of 1000; B bytes)", "<layer",
                      "<way", "MACs", "cycles", "busy", "<bound by", "stalls", "DRAM B", "MAC/B", "uJ")
    _folding(table, 0)
    for layer in report.layers:
        moved = layer.bytes_at("dram")
        table.add_row(escape(layer.name), layer.algorithm, _short(layer.macs), f"{layer.cycles:,}",
                      f"{layer.utilisation:.0%}" if layer.macs else "", _bound(layer), _stalls(layer),
                      _short(moved), f"{layer.macs_per_dram_byte:,.0f}" if layer.macs and moved else "",
                      f"{layer.total_pj / 1e6:,.1f}")
    table.add_section()
    table.add_row("all", "", _short(report.macs), f"{report.cycles:,}", f"{_busy(report):.0%}", "", "", _short(report.dram_bytes),
                  "", f"{report.total_pj / 1e6:,.1f}")
    console.print(table)
    console.print(_whole(report))
    console.print(f"memory model: {report.memory_model}", markup=False, highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _bound(layer: LayerReport) -> str:
    """What bounds a layer; without products it is the vector unit that works."""
    return "vector unit" if layer.bound == "array" and not layer.macs else layer.bound.replace("_", " ")


def _stalls(layer: LayerReport) -> str:
    """Share of a layer's time that it waits."""
    waited = sum(layer.stall_cycles.values())
    return f"{waited / layer.cycles:.0%}" if waited and layer.cycles else ""


def _busy(report: SystemReport) -> float:
    return report.macs / (report.cycles * report.peak_macs) if report.cycles and report.peak_macs else 0.0


def _whole(report: SystemReport) -> Table:
    whole = ruled(f"{report.network} on {report.machine}: the whole at {report.clock_mhz:g} MHz", "<", "")
    seconds = report.seconds
    waits: dict[str, int] = {}
    spent = max(sum(layer.cycles for layer in report.layers), 1)  # more than the run's where layers work at the same time
    for layer in report.layers:
        for cause, cycles in layer.stall_cycles.items():
            waits[cause] = waits.get(cause, 0) + cycles
    lines = [
        ("time", f"{seconds * 1e3:,.3f} ms, {report.cycles:,} cycles"),
        ("frames per second", f"{report.frames_per_second:,.1f}" if seconds else ""),
        ("array busy", f"{_busy(report):.1%} of {report.peak_macs:,} multiply-accumulates a cycle"),
        *((f"waiting for {cause.replace('_', ' ')}", f"{cycles / spent:.1%} of the layers' time") for cause, cycles in
          sorted(waits.items(), key=lambda item: -item[1])),
        ("DRAM", f"{report.dram_bytes:,.0f} bytes, {report.dram_bytes / max(seconds, 1e-300) / 1e9:,.2f} of "
         f"{report.dram_gb_per_s:g} GB/s"),
        (f"energy ({report.energy_table})", f"{report.total_pj / 1e6 / report.batch:,.1f} uJ a frame, "
         f"{report.total_pj / max(seconds, 1e-300) / 1e9:,.1f} mW"),
        *((f"  {component}", f"{energy / max(report.total_pj, 1e-300):.1%}") for component, energy in
          sorted(report.energy_pj.items(), key=lambda item: -item[1]) if energy),
    ]
    for name, value in lines:
        whole.add_row(escape(name), value)
    return whole


def _short(value: float) -> str:
    """Three digits and K, M or G; nothing for nothing."""
    if not value:
        return ""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g}{name}" if value < 999.5 * unit else f"{value / unit:,.0f}{name}"
    return f"{value:,.4g}"
