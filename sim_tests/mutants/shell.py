"""The control shell: its mutants inside a bundle, run through the cocotb bench of `sim_tests/test_shell.py`.

The netlist with all changes replaces the control module of both copies in the bench's harness.  Which change is there is an input of
the harness, so one simulation is built.  AUTO_START, a parameter of the module, is an input of the netlist.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from codegen.bundle import Bundle
from codegen.errors import ToolError
from sim_tests.shell_simulation import BENCH, PRESETS, RUNS, counters, harness, shelled, simulate

from . import equivalence, rtl
from .measure import EQUIVALENT, KILLED, SURVIVED, Outcome, Result
from .shell_equivalence import prove
from .shell_run import Played, play

TITLE = "control: registers of a design of 16, 8 and 6 neurons"
#: A test that resets no copy for so many cycles hangs; those of the bench need less than a thousand.
HANG_CYCLES = 6000


def sources(bundle: Bundle) -> dict[str, str]:
    """What the control instance of a bundle consists of, with AUTO_START as an input: relative path -> text."""
    name = f"rtl/{bundle.top}_control.v"
    text = (bundle.path / name).read_text()
    for pattern, instead in ((r" #\(\n +parameter AUTO_START = 1 .*\n\) \(\n", " (\n    input  wire        AUTO_START,\n"),
                             (r"localparam AUTO_STARTS = AUTO_START != 0;", "wire AUTO_STARTS = AUTO_START;")):
        text, count = re.subn(pattern, instead, text)
        if count != 1:
            raise ToolError(f"'{name}' has no AUTO_START where it is looked for")
    return {name: text, "rtl/bw_axi_lite.v": (bundle.path / "rtl" / "bw_axi_lite.v").read_text()}


def settable(netlist: str) -> str:
    """A mutated netlist as RTLIL whose counters can be set, as the bench wants it: with inputs `preset` and `preset_value`."""
    wires, added = [f"  wire width {len(PRESETS)} input 9001 \\preset\n", "  wire width 64 input 9002 \\preset_value\n"], []
    for number, (name, bits) in enumerate(PRESETS.items()):
        cells = [match for match in re.finditer(r"^  cell \$sdffe .*\n(?:    .*\n)*  end\n", netlist, re.MULTILINE)
                 if re.search(rf"connect \\Q .*\\{name}(?![\w.])", match[0])]
        if len(cells) != 1:
            raise ToolError(f"{len(cells)} registers are the counter '{name}'")
        cell = cells[0][0]
        for port, kind, width, instead in (("D", "$mux", bits, f"\\preset_value [{bits - 1}:0]"), ("EN", "$or", 1, "")):
            wire = f"\\preset_{port}_{name}"
            match = re.search(rf"connect \\{port} (.*)", cell)
            assert match
            cell = cell.replace(match[0], f"connect \\{port} {wire}")
            sizes = {"WIDTH": width} if kind == "$mux" else {"A_SIGNED": 0, "A_WIDTH": 1, "B_SIGNED": 0, "B_WIDTH": 1, "Y_WIDTH": 1}
            widths = "".join(f"    parameter \\{one} {size}\n" for one, size in sizes.items())
            flag = f"\\preset [{number}]"
            inputs = f"    connect \\B {instead}\n    connect \\S {flag}\n" if kind == "$mux" else f"    connect \\B {flag}\n"
            wires.append(f"  wire width {width} {wire}\n")
            added.append(f"  cell {kind} {wire}_cell\n{widths}    connect \\A {match[1]}\n{inputs}    connect \\Y {wire}\n  end\n")
        netlist = netlist.replace(cells[0][0], cell)
    head, body, tail = re.split(r"^(module .*\n(?:.*\n)*?)(?=end\n)", netlist, maxsplit=1, flags=re.MULTILINE)
    first, _, rest = body.partition("\n")
    return f"{head}{first}\n{''.join(wires)}{rest}{''.join(added)}{tail}"


def wrapper(bundle: Bundle, netlist: str) -> str:
    """The control module around a netlist of its own; the harness says which change is there, and sets counters."""
    top = bundle.top
    text = (bundle.path / "rtl" / f"{top}_control.v").read_text()
    head = re.search(rf"^module {top}_control #\(.*?^\);\n", text, re.MULTILINE | re.DOTALL)
    assert head
    ports = re.findall(r"^    (?:input|output) +(?:wire|reg) +(?:\[\S+\] *)?(\w+)", head[0], re.MULTILINE)
    wired = ", ".join(f".{name}({name})" for name in ports)
    inner, renamed = f"{top}_mutated", re.sub(rf"^module {top}_control\(", f"module {top}_mutated(", netlist, flags=re.MULTILINE)
    return f"""`default_nettype wire
{renamed}
{head[0].replace("output reg ", "output wire")}
    reg [{rtl.MUTANT_BITS - 1}:0] mutant;
    reg [{len(PRESETS) - 1}:0] preset;
    reg [63:0] preset_value;
    {inner} netlist (.AUTO_START(AUTO_START != 0), .mutant(mutant), .preset(preset), .preset_value(preset_value), {wired});
endmodule
"""


def around(top: str, text: str) -> str:
    """The harness for it: counters are set through inputs, and a bench that hangs ends."""
    whole = harness(top, text)
    changed = re.sub(r"^    always @\(negedge aclk\) if \(preset.*\n", "", whole, flags=re.MULTILINE)
    assert changed.count("preset") == whole.count("preset") - 2 * len(PRESETS)
    changed = changed.replace("(\n", f"(\n    input  wire [{rtl.MUTANT_BITS - 1}:0] mutant /* verilator public_flat_rw */,\n", 1)
    extra = f"""    always @(mutant, preset, preset_value) begin
        manual.control.mutant = mutant;
        eager.control.mutant = mutant;
        manual.control.preset = preset;
        manual.control.preset_value = preset_value;
        eager.control.preset = 0;
        eager.control.preset_value = 0;
    end
    integer cycles = 0;
    always @(posedge aclk) begin
        cycles <= aresetn ? cycles + 1 : 0;
        if (cycles == {HANG_CYCLES}) begin
            $display("the bench hangs");
            $finish;
        end
    end
"""
    return changed.replace("endmodule", extra + "endmodule")


def mutated(bundle: Bundle, mutants: int, seed: int) -> rtl.Mutated:
    """The changes of a bundle's control shell."""
    return rtl.mutated(sources(bundle), f"{bundle.top}_control", mutants, seed)


def prepare(bundle: Bundle, made: rtl.Mutated, folder: Path) -> None:
    """Build the simulation of all changes; a test must pass without any."""
    top = bundle.top
    copy = replace(bundle, path=Path(shutil.copytree(bundle.path, folder / "changed")))
    verilog = rtl.verilog(settable(made.ilang))
    (copy.path / "rtl" / f"{top}_control.v").write_text(wrapper(bundle, verilog))
    with (copy.path / "lint.vlt").open("a") as waivers:
        waivers.writelines(f'lint_off {rule}-file "*/{top}_control.v"\n' for rule in ("", "-rule UNOPTFLAT ", "-rule SYMRSVDWORD "))
    tests, _ = simulate(copy, BENCH, folder, "verilator", around=around, only="addresses_without_a_register")
    if failed := [f"{name}: {reason}" for name, reason in tests.items() if reason]:
        raise ToolError(f"{TITLE}: the bench fails without any change ({failed[0]})")


def difference(bundle: Bundle, played: Played) -> str:
    """What a run of the bench says against a mutant; nothing if it passes."""
    if played.failure:
        return played.failure
    for name in RUNS:
        if name not in played.seen:
            return f"counters of {name}: none were kept"
        found, expected = counters(bundle.design, played.seen[name])
        wrong = [f"{key} {found[key]}, not {expected[key]}" for key in expected if found[key] != expected[key]]
        if wrong:
            return f"counters of {name}: {wrong[0]}"
    return ""


def measure(folder: Path, *, mutants: int = 200, seed: int = 1, seconds: float = 60,
            progress: Callable[[str, int, int], None] = lambda step, done, total: None) -> Result:
    """Make mutants of the control shell, run its bench on each, and prove what survives; parameters as in `measure.measure`."""
    progress("generating a bundle", 0, 1)
    bundle = shelled(folder / "built")
    progress("mutating", 0, 1)
    made = mutated(bundle, mutants, seed)
    progress("compiling", 0, 1)
    prepare(bundle, made, folder)
    outcomes, both, cycles = [], None, 0
    progress("running", 0, len(made.mutants))
    for number, played in play(folder, bundle.top, range(len(made.mutants) + 1)):
        how = difference(bundle, played)
        if number == 0:
            if how:
                raise ToolError(f"{TITLE}: the bench fails without any change ({how})")
            cycles = played.cycles
            continue
        mutant = made.mutants[number - 1]
        if how:
            outcomes.append(Outcome(number, mutant.text, KILLED, how))
        else:
            both = both or equivalence.circuit(made, {})
            proof = prove(TITLE, both, number, seconds)
            outcomes.append(Outcome(number, mutant.text, EQUIVALENT if proof == equivalence.PROVEN else SURVIVED, proof))
        progress("running", number, len(made.mutants))
    return Result(TITLE, made.cells, cycles, outcomes)
