"""Proofs that a change changes nothing: the block and its mutant side by side, for all inputs, forever.

Both begin in the same state, any state at all, and are reset for one cycle.  Registers that the block does not reset, memories
among them, then hold anything, the same in both: what it is shows nowhere, for they begin as X under Icarus, and nothing unknown
leaves the block (test_blocks_in_two_simulators.py).  Whoever uses them keeps the rules of streams and sends legal codes only.  The
proof says that from then on ready and valid are equal at every port, and payloads wherever they are valid.
"""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from codegen.errors import ToolError
from codegen.yosys import run_yosys

from .aig import FALSE, TRUE, Builder, Circuit, read
from .case import Case
from .rtl import Mutated

#: The inputs of both sides: (port, bit) -> literal.
Shared = dict[tuple[str, int], int]
PROVEN, DIFFERENT, UNDECIDED = "equivalent", "different", "undecided"
#: Registers that prove equal by induction are merged first; what is left is for property-directed reachability.
_ABC = "read_aiger miter.aig; strash; scorr; dc2; scorr -F 2; write_aiger reduced.aig; pdr"


def circuit(mutated: Mutated, files: Mapping[str, str]) -> Circuit:
    """The netlist, with its input `mutant`, as gates and registers; memories become registers."""
    memories = {name: text for name, text in files.items() if name.startswith("mem/")}
    made = run_yosys({"mutated.il": mutated.ilang, **memories},
                     "read_rtlil mutated.il\nmemory_map\nopt\ndffunmap\nsimplemap\ntechmap\nopt\ndfflegalize -cell $_DFF_P_ 01\nopt_expr\n"
                     "setundef -zero\naigmap\n"  # constants that nobody looks at
                     "opt_clean\nwrite_aiger -ascii -map names.txt circuit.aag\n")
    return read(made["circuit.aag"], made["names.txt"])


def miter(case: Case, both: Circuit, mutant: int, copies: int) -> bytes:
    """A circuit whose output is 1 when the mutant shows at a block's streams; see `product`."""
    def rules(b: Builder, first: int, shared: Shared, sides: list[list[int]]) -> tuple[list[int], list[int]]:
        differences, allowed = [], []
        at = both.output_names
        for port in case.ports:
            valid, ready = f"{port.name}_valid", f"{port.name}_ready"
            bits = [(f"{port.name}_payload", bit) for bit in range(port.bits)]
            if port.is_input:
                differences.append(b.differ(sides[0][at[ready, 0]], sides[1][at[ready, 0]]))
                words = [shared[bit] for bit in bits]
                allowed += _stream_rules(b, first, shared[valid, 0], words, sides[0][at[ready, 0]])
                allowed += [b.any(shared[valid, 0] ^ 1, one) for one in _legal(b, case, port.name, words)]
            else:
                differences.append(b.differ(sides[0][at[valid, 0]], sides[1][at[valid, 0]]))
                differences += [b.all(sides[0][at[valid, 0]], b.differ(sides[0][at[bit]], sides[1][at[bit]])) for bit in bits]
        return differences, allowed

    return product(both, mutant, copies, {"rst": TRUE}, lambda b, first: {"clk": FALSE, "rst": first}, rules)


def product(both: Circuit, mutant: int, copies: int, resets: Mapping[str, int], control: Callable[[Builder, int], dict[str, int]],
            rules: Callable[[Builder, int, Shared, list[list[int]]], tuple[list[int], list[int]]]) -> bytes:
    """A circuit whose output is 1 when the mutant shows.

    With two copies, each side has registers of its own, and it shows at the ports.  With one, both sides begin every cycle in the
    block's state, and it shows when the next state is another, too: more than is asked, and much easier to prove.

    Parameters
    ----------
    resets : name -> constant
        The input that resets, while it does.
    control : callable
        Of the builder and of what is 1 in the first cycle: clock and reset.
    rules : callable
        Of the builder, the first cycle, the inputs and both sides' outputs: where they differ, and what users keep to.
    """
    b = Builder()
    started = b.latch()
    b.latches[started] = TRUE
    first = started ^ 1
    controls = control(b, first)
    shared = {key: b.input() for key in both.input_names if key[0] not in ("mutant", *controls)}
    start, after = ([b.input() for _ in both.latches] for _ in range(2))
    is_reset = [one in (FALSE, TRUE) for one in b.copy(both, _inputs(both, shared, 0, controls | dict(resets)), start)[1]]
    registers: list[int] = []
    sides, following = [], []
    for number in (0, mutant):
        if len(sides) < copies:
            registers = [b.latch() for _ in both.latches]
        now = [b.mux(first, one, register) for one, register in zip(start, registers, strict=True)]
        outputs, then = b.copy(both, _inputs(both, shared, number, controls), now)
        if len(sides) < copies:
            b.latches |= {register: next_ if reset else b.mux(first, any_, next_)
                          for register, next_, any_, reset in zip(registers, then, after, is_reset, strict=True)}
        sides.append(outputs)
        following.append(then)
    differences, allowed = rules(b, first, shared, sides)
    shows = b.all(started, b.any(*differences))
    if copies == 1:
        shows = b.any(shows, *(b.all(TRUE if reset else started, b.differ(*pair))
                               for *pair, reset in zip(*following, is_reset, strict=True)))
    broken = b.latch()  # a rule of the streams, earlier
    holds = b.all(broken ^ 1, *allowed)
    b.latches[broken] = holds ^ 1
    return b.binary(b.all(holds, shows))


def _inputs(both: Circuit, shared: Shared, mutant: int, controls: Mapping[str, int]) -> list[int]:
    """The inputs of a copy: those of its ports, and those that choose the mutant, clock and reset."""
    inputs = [FALSE] * len(both.inputs)
    for (name, bit), place in both.input_names.items():
        if name == "mutant":
            inputs[place] = TRUE if mutant >> bit & 1 else FALSE
        else:
            inputs[place] = controls[name] if name in controls else shared[name, bit]
    return inputs


def _stream_rules(b: Builder, first: int, valid: int, words: list[int], ready: int) -> list[int]:
    """A word that was offered and not taken is offered again."""
    waits = b.latch()
    b.latches[waits] = b.all(first ^ 1, valid, ready ^ 1)
    rules = [b.any(waits ^ 1, valid)]
    for bit in words:
        held = b.latch()
        b.latches[held] = bit
        rules.append(b.any(waits ^ 1, b.differ(held, bit) ^ 1))
    return rules


def _legal(b: Builder, case: Case, port: str, words: list[int]) -> list[int]:
    return [b.any(*(b.all(*(words[rule.first + n] ^ 1 ^ (code >> n & 1) for n in range(rule.bits))) for code in sorted(rule.codes)))
            for rule in case.legal if rule.port == port]


def prove(case: Case, both: Circuit, mutant: int, seconds: float = 60) -> str:
    """Whether a mutant is `PROVEN` equivalent, shown `DIFFERENT` by some input, or `UNDECIDED` in that time.

    Parameters
    ----------
    seconds : float
        Of processor time, so that a busy machine proves no less.

    Raises
    ------
    ToolError
        If abc is missing or fails.
    """
    return decided(case.title, lambda copies: miter(case, both, mutant, copies), seconds)


def decided(title: str, circuits: Callable[[int], bytes], seconds: float) -> str:
    """The same of any block: its `product` by the number of copies, the cheap question first."""
    if _abc(title, circuits(1), seconds / 4) == PROVEN:
        return PROVEN
    return _abc(title, circuits(2), seconds)


def _abc(title: str, circuit: bytes, seconds: float) -> str:
    spec = importlib.util.find_spec("pyosys")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("the wheel 'pyosys', which carries abc, is not installed; run `make env`")
    program = Path(spec.submodule_search_locations[0]) / "yosys-abc"
    limit = max(1, round(seconds))
    with tempfile.TemporaryDirectory(prefix="miter-") as folder:
        (Path(folder) / "miter.aig").write_bytes(circuit)
        done = subprocess.run([str(program), "-q", _ABC], cwd=folder, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (limit, limit)))
        reduced = Path(folder) / "reduced.aig"
        if done.returncode > 0 or (done.returncode == 0 and not reduced.exists()):
            raise ToolError(f"abc fails on a miter of '{title}': {(done.stdout + done.stderr).strip()[-500:]}")
        if not reduced.exists():  # out of time
            return UNDECIDED
        lines = reduced.read_bytes().split(b"\n", 2)
    _, _, _, latches, _, gates = lines[0].split()[:6]
    if "Property proved" in done.stdout or (latches == gates == b"0" and lines[1] == b"0"):
        return PROVEN
    return DIFFERENT if "was asserted in frame" in done.stdout else UNDECIDED
