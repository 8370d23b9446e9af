"""Constraints, core file and scripts in a bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
import yaml

from codegen.flows import flow_files
from hwsim.autoplan import auto_plan
from tests.networks import mlp

FILES = {"rtl/net.v": "", "rtl/bw_rom.v": "", "mem/w.mem": "", "tb/run.py": "", "lint.vlt": ""}


def made(mhz: float = 125.0, device: str | None = None, network: str = "net", top: str = "net") -> dict[str, str]:
    plan = replace(auto_plan(mlp((8, 4))), clock_mhz=mhz, device=device)
    return flow_files(top, network, "0123456789abcdef", "Generated.\nYours.", plan, FILES)


def test_clocks_are_those_of_the_plan() -> None:
    files = made(125)
    assert "set period 8.000\ncreate_clock -name aclk -period $period [get_ports aclk]" in files["constraints/net.sdc"]
    assert "create_clock -name aclk -period 8.000 [get_ports aclk]" in files["constraints/net.xdc"]
    assert 'FREQUENCY PORT "aclk" 125 MHZ;' in files["constraints/net.lpf"]
    assert "\nset_frequency aclk 125\n" in files["constraints/net.pcf"]
    assert json.loads(files["scripts/librelane.json"])["CLOCK_PERIOD"] == 8
    for kind in ("sdc", "xdc"):  # the reset is synchronous, so nothing declares its paths false
        lines = [line for line in files[f"constraints/net.{kind}"].splitlines() if line and not line.startswith("#")]
        assert not any("false_path" in line or "aresetn" in line for line in lines)


def test_the_core_lists_the_files() -> None:
    text = made(network='a "b": {c}\n# d')["net.core"]
    assert text.startswith("CAPI=2:\n")
    core = yaml.safe_load(text)
    assert core["description"] == "accelerator of the network a _b__ _c___ d, design 0123456789abcdef"
    listed = [next(iter(file.items())) for kind in ("rtl", "mem", "bench") for file in core["filesets"][kind]["files"]]
    assert listed == [(name, {"copyto": name}) for name in ("rtl/bw_rom.v", "rtl/net.v", "mem/w.mem", "tb/run.py", "net.f")]
    assert {name for target in core["targets"].values() for name in target["filesets"]} == set(core["filesets"])
    assert all(target["toplevel"] == "net" for target in core["targets"].values())


@pytest.mark.parametrize("top", ["no", "true", "Off", "yes", "e1"])
def test_a_top_that_yaml_takes_for_something_else(top: str) -> None:
    core = yaml.safe_load(made(top=top)[f"{top}.core"])
    assert {target["toplevel"] for target in core["targets"].values()} == {top}


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="no tclsh")
@pytest.mark.parametrize("kind", ["vivado", "sdc", "xdc"])
def test_tcl_runs_with_stand_ins_for_the_vendor_commands(kind: str) -> None:
    files = made(device="xc7a100t")
    script = files["scripts/vivado.tcl"] if kind == "vivado" else files[f"constraints/net.{kind}"]
    stand_ins = ('proc unknown {args} { puts "RAN $args"; return 0.25 }\nproc file {args} {}\nproc glob {args} { return $args }\n'
                 "set argc 0\nset argv {}\n")
    done = subprocess.run(["tclsh"], input=stand_ins + script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ran = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("RAN")]
    if kind == "vivado":
        steps = ["read_verilog", "read_mem", "read_xdc", "synth_design", "opt_design", "place_design", "route_design", "report_timing_summary"]
        assert [step for step in ran if step in steps] == steps
        assert "-part xc7a100tcsg324-1" in done.stdout and "worst setup slack 0.25 ns" in done.stdout
    else:
        assert ran == ["get_ports", "create_clock"]
