"""Commands on whole accelerators: machines, complexity, and `sim` with a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import show_systems
from ..shell import InputError, Json, out, toml_value, user_errors

AnyNetwork = Annotated[Path, typer.Argument(metavar="NET", help="A lowered network (.intir), a table of shapes (.csv), or the name "
                                            "of one, such as resnet18.")]
MachineOption = Annotated[str | None, typer.Option(
    "--machine", metavar="MACHINE", help="A machine by name (`bitwright machines` lists them) or from a .toml file.")]
Overrides = Annotated[list[str] | None, typer.Option(
    "--set", metavar="KEY=VALUE", help="Change a key of the machine, such as array.rows=64; may be given several times.")]


@user_errors
def machines(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A machine by name, or a .toml file.")] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print its file, to start an own one from.")] = False,
    json_: Json = False,
) -> None:
    """List the machines that networks can be simulated on, or show one.

    Example: bitwright machines edge_npu_int8 --toml
    """
    from dataclasses import asdict

    from hwsim.systems.machine_file import load_machine, machine_names, machine_text

    if toml:
        if name is None:
            raise InputError("--toml prints the file of one machine; name it, for example: bitwright machines edge_npu_int8 --toml")
        if name.lower().endswith(".toml"):
            raise InputError(f"'{name}' is a file already; --toml prints that of a machine of the library (`bitwright machines` "
                             "lists them)")
        print(machine_text(name), end="")
        return
    found = [load_machine(one) for one in ([name] if name else machine_names())]
    if json_:
        print(json.dumps([asdict(one) for one in found], indent=1))
    elif name:
        show_systems.machine(found[0], out)
    else:
        show_systems.machines(found, out)


@user_errors
def complexity(
    network: AnyNetwork,
    against: Annotated[Path | None, typer.Option("--against", metavar="NET2", help="Another network to compare with.")] = None,
    machine: MachineOption = None,
    overrides: Overrides = None,
    json_: Json = False,
) -> None:
    """State a network's complexity: parameters, MACs, bit-operations, bytes, arithmetic intensity, roofline; or compare two.

    Example: bitwright complexity cnv --against resnet18 --machine edge_npu_int8
    """
    from hwsim.systems.complexity import compare
    from hwsim.systems.complexity import complexity as complexity_of
    from hwsim.systems.machine_file import load_machine

    from ..api import workload_of

    if overrides and machine is None:
        raise InputError("--set changes a machine; add --machine")
    roof = load_machine(machine, parse_overrides(overrides)) if machine else None
    this = complexity_of(workload_of(network), roof)
    other = complexity_of(workload_of(against), roof) if against else None
    ratios = compare(this, other) if other else ()
    if json_:
        made = this.as_dict()
        if other:
            made |= {"against": other.as_dict(), "ratios": {one.figure: one.ratio for one in ratios}}
        print(json.dumps(made, indent=1))
    elif other:
        show_systems.comparison(this, other, ratios, out)
    else:
        show_systems.complexity(this, out)


def parse_overrides(given: list[str] | None) -> dict[str, object]:
    """``KEY=VALUE`` as TOML has values; what is none is a text.  Raises InputError."""
    made: dict[str, object] = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise InputError(f"--set is '{text[:80]}'; write KEY=VALUE, for example array.rows=64")
        made[key.strip()] = toml_value(value)
    return made
