"""Tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from intir import Graph
from intir.widths import width_report

if TYPE_CHECKING:
    from codegen.bundle import Bundle
    from codegen.cosim import Verification
    from hwsim.plan import Plan
    from hwsim.report import SimulationReport
    from quant.check import CheckResult


def ruled(title: str, *columns: str) -> Table:
    """An empty table in our style; columns of text begin with ``<``, all others are numbers."""
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    for column in columns:
        left, name = column.startswith("<"), column.lstrip("<")
        table.add_column(escape(name), justify="left" if left else "right", no_wrap=left)
    return table


def graph(graph: Graph, console: Console) -> None:
    """An IR graph: every value with its type, proven range and width."""
    table = ruled(f"{graph.name}: {len(graph.nodes)} nodes", "<value", "<operation", "<shape", "<type", "proven range",
                   "bits")
    makers = {node.output: node.op.kind for node in graph.nodes}
    for value in graph.values.values():
        proven = graph.ranges[value.name].type
        table.add_row(escape(value.name), makers.get(value.name, "input"), "x".join(map(str, value.shape)), escape(str(value.type)),
                      escape(f"[{proven.lo}, {proven.hi}]"), str(value.type.bits))
    console.print(table)
    rows = width_report(graph)
    if rows:
        widths = ruled("accumulators", "<node", "terms", "operands", "rule of thumb 2n + log2 K", "proven bits", "saved")
        for row in rows:
            widths.add_row(escape(row.node), str(row.terms), f"{row.activation_bits} x {row.weight_bits} bits", str(row.rule_bits),
                           str(row.proven_bits), str(row.saved_bits))
        saved = sum(row.saved_bits * row.accumulators for row in rows)
        console.print(widths)
        by_rule = sum(row.rule_bits * row.accumulators for row in rows)
        console.print(f"proven ranges save {saved:,} of {by_rule:,} accumulator bits, one accumulator per output", highlight=False)
    for interface in graph.inputs:
        if interface.host is not None:
            console.print(f"input '{interface.value}': a host computes {graph.values[interface.value].type} by "
                          f"{interface.host.description}", markup=False, highlight=False)
    for interface in graph.outputs:
        scale, offset = interface.affine.scale, interface.affine.offset
        if len(scale) == len(offset) == 1:
            console.print(f"output '{interface.value}': real = integer * {scale[0]} + {offset[0]}", markup=False, highlight=False)
        else:
            console.print(f"output '{interface.value}': real = integer * scale + offset, exact, per channel", markup=False)


def graph_dict(graph: Graph) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "name": graph.name,
        "nodes": [{"name": node.name, "op": node.op.kind, "inputs": list(node.inputs), "source": node.source}
                  for node in graph.nodes],
        "values": [{"name": value.name, "shape": list(value.shape), "type": str(value.type), "bits": value.type.bits,
                    "lo": graph.ranges[value.name].type.lo, "hi": graph.ranges[value.name].type.hi}
                   for value in graph.values.values()],
        "accumulators": [{"node": row.node, "terms": row.terms, "proven_bits": row.proven_bits, "rule_bits": row.rule_bits}
                         for row in width_report(graph)],
    }


def plan(plan: Plan, console: Console) -> None:
    """A plan's layers."""
    from hwsim.plan import OPTIONS

    title = f"plan for {plan.network}: {plan.device or plan.family}, {plan.clock_mhz:g} MHz"
    choices = [key for key in OPTIONS if key == "order" or any(key in layer.options for layer in plan.layers.values())]
    table = ruled(title, "<layer", "<engine", "pe", "simd", *(f"<{key.replace('_', ' ')}" for key in choices), "fifo depth")
    for name, layer in plan.layers.items():
        chosen = [escape(str(layer.options.get(key, ""))) for key in choices]
        table.add_row(escape(name), layer.engine, str(layer.pe), str(layer.simd or ""), *chosen,
                      ", ".join(map(str, layer.fifo_depth)) if layer.fifo_depth else "auto")
    console.print(table)


def check(result: CheckResult, console: Console) -> None:
    """A check of a network: what differs, and who is right."""
    table = ruled(f"{result.network}: {result.inputs:,} inputs, {result.values:,} output values, {result.nodes} nodes, lowered in "
                   f"{result.lower_seconds:.2f} s", "<output values", "count")
    for name, value in (
        ("float stands for another integer", result.float_differs),
        ("of those, exact arithmetic agrees with the integers (float rounded)", result.exact_agrees),
        ("of those, not computed exactly (--most)", result.undecided),
        ("float off in its last digits, same integer", result.float_rounded),
        (f"computed exactly ({result.exact_inputs:,} inputs)", result.exact_values),
        ("of those, integers differ from exact arithmetic", result.ir_differs),
    ):
        table.add_row(name, f"{value:,}")
    console.print(table)
    for one in result.examples:
        console.print(f"input {one.input}, output {one.position}: float {one.float_value:.9g}, integers {one.ir_value:.9g}, "
                      f"exact {one.exact_value:.9g}", markup=False, highlight=False)
    if result.passed:
        console.print("passed: wherever exact arithmetic was done, the integers equal it", style="green")
    else:
        console.print(f"FAILED: {result.ir_differs:,} values differ from exact arithmetic; the lowering is wrong, please report it",
                      style="bold red", markup=False)


def simulation(report: SimulationReport, console: Console) -> None:
    """A simulation: blocks in order, then the whole."""
    table = ruled(f"{report.network}: one frame, block by block (bytes stored; bytes read, buffered and given; LUTs estimated)",
                   "<block", "folding", "cycles", "busy", "ops", "acc bits", "weights", "read", "buffer", "out", "LUTs")
    for b in report.blocks:
        fold = f"{b.pe} x {b.simd}" if b.simd else str(b.pe or (f"{b.fifo_depth} words" if b.fifo_depth else ""))
        table.add_row(b.name, fold, f"{b.cycles:,}", f"{b.utilisation:.0%}", f"{b.operations:,}" if b.operations else "",
                      str(b.accumulator_bits or ""), _bytes(b.weight_bytes), _bytes(b.weight_read_bytes),
                      _bytes(b.buffer_read_bytes + b.buffer_write_bytes), _bytes(b.stream_out_bytes), f"{b.luts:,}")
    t = report.totals
    table.add_section()
    table.add_row("all", "", "", "", f"{t['operations']:,.0f}", "", _bytes(t["weight_bytes"]), _bytes(t["weight_read_bytes"]),
                  _bytes(t["buffer_read_bytes"] + t["buffer_write_bytes"]), _bytes(t["stream_out_bytes"]), f"{t['luts']:,.0f}")
    console.print(table)
    whole = ruled(f"{report.network}: the whole at {report.clock_mhz:g} MHz", "<", "")
    for name, value in (
        ("initiation interval", f"{report.initiation_interval_cycles:,} cycles"),
        ("frames per second", f"{report.frames_per_second:,.0f}"),
        ("first-output latency", f"{report.first_output_latency_cycles:,} cycles, {report.latency_us:.2f} us"),
        ("sum of the layers' cycles, if they did not overlap", f"{report.sum_of_layers_cycles:,} cycles"),
        (f"{report.frames} frames back to back", f"{report.total_cycles:,} cycles"),
        ("weights and thresholds on chip", f"{t['weight_bytes'] + t['threshold_bytes']:,.0f} bytes"),
        ("estimated LUTs, block RAMs of 18 kbit, DSPs", f"{t['luts']:,.0f}, {t['brams']:,.0f}, {t['dsps']:,.0f}"),
        ("in and out per frame", f"{report.input_bytes:,.0f} + {report.output_bytes:,.1f} bytes"),
    ):
        whole.add_row(name, value)
    console.print(whole)
    if report.sparse:
        console.print(_sparse(report))


def _sparse(report: SimulationReport) -> Table:
    """What happens inside sparse engines; means over the frames."""
    table = ruled(f"{report.network}: sparse products; nonzero weights and inputs; cycles from scan to last product, and were its "
                   "entries spread evenly; columns that an element holds, mean/most; KiB in the engine, and Huffman coded",
                   "<product", "size", "PEs", "weights", "inputs", "padding", "cycles", "even", "held", "full", "KiB", "coded")
    for one in report.sparse:
        table.add_row(escape(one.name), f"{one.inputs}x{one.outputs}", str(one.pes), f"{one.density:.0%}",
                      f"{one.activation_density:.0%}", f"{one.padding:,}", f"{one.cycles:,.0f}", f"{one.ideal_cycles:,.0f}",
                      f"{one.held_mean:.1f}/{one.held_peak}", f"{one.full_wait_cycles:,.0f}",
                      *(f"{bits / 8192:,.1f}" for bits in (one.stored_bits, one.huffman_bits)))
    return table


def _bytes(value: float) -> str:
    return f"{value:,.0f}" if value else ""


def bundle(bundle: Bundle, console: Console) -> None:
    """What a bundle holds."""
    table = ruled(f"{bundle.path}: design {bundle.manifest['design']}, top {bundle.top}", "<folder", "files", "<what")
    meanings = {"rtl": "Verilog, one module per file", "mem": "memory contents for $readmemh",
                "tb": "bench: make -C tb, or python tb/run.py",
                "driver": "drivers in Python and C, the registers as a C header",
                "constraints": "clock and ports for Vivado (xdc), nextpnr (lpf, pcf) and others (sdc)",
                "scripts": "synthesis with Yosys, Vivado and LibreLane",
                ".": "INTERFACE.md, reports, plan, network, FuseSoC core, SystemRDL, file list"}
    for folder, meaning in meanings.items():
        count = sum(1 for name in bundle.manifest["files"] if (name.split("/")[0] if "/" in name else ".") == folder)
        if count:
            table.add_row(folder, str(count), meaning)
    console.print(table)


def verification(result: Verification, console: Console) -> None:
    """A co-verification, one row per stall pattern."""
    from codegen.cosim import FAULTS

    faults = [fault.removeprefix("differing_").removesuffix("_beats") for fault in FAULTS]
    table = ruled(f"{result.top} under {result.simulator}: {result.frames} frames in four stall patterns; what differs",
                   "<pattern", "beats", *faults, "last cycle", "in hwsim")
    for name, pattern in result.patterns.items():
        table.add_row(name.replace("_", " "), str(pattern["beats"]), *[str(pattern[fault]) for fault in FAULTS],
                      str(pattern["last_output_cycle"]), str(pattern["predicted_last_output_cycle"]))
    console.print(table)
    if result.passed:
        console.print("passed: every bit equals the reference, every cycle equals hwsim", style="green")
    else:
        console.print("FAILED: " + ", ".join(f"{result.total(fault)} {fault.replace('_', ' ')}" for fault in FAULTS
                                             if result.total(fault)), style="bold red", markup=False)
        for name, pattern in result.patterns.items():
            if pattern["first_difference"]:
                console.print(f"{name.replace('_', ' ')}: {pattern['first_difference']}", markup=False, highlight=False)
