"""`bitwright overlay`, and what `show` and `verify` make of its folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitwright.cli import app


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert "Traceback" not in result.stderr
    return result.exit_code, result.stdout, result.stderr


def test_a_folder_is_written_and_shown(tmp_path: Path) -> None:
    code, said, _ = run("overlay", "--rows", 2, "--columns", 3, "--kind", "xnor", "--lanes", 8, "--depth", 16, "-o", tmp_path / "array")
    assert code == 0
    assert "bitwright_gemm_bipolar_bipolar_2x3x8, 48 multiply-accumulates a cycle" in said.replace("\n", " ")
    code, said, _ = run("show", tmp_path / "array")
    assert code == 0
    assert "| `terms` |" in said
    assert run("overlay", "-o", tmp_path / "array")[0] == 2  # there already
    (tmp_path / "array" / "rtl" / "bw_ram.v").write_text("")
    code, _, said = run("verify", tmp_path / "array")
    assert (code, said) == (2, f"bitwright: overlay '{tmp_path / 'array'}': the file 'rtl/bw_ram.v' is not the one that was built; "
                               "build the overlay again\n")


@pytest.mark.parametrize(("options", "said"), [
    (["--kind", "s8"], "--kind is 's8'; choose int8 or xnor, or give the types of activations and weights, like s8,s8"),
    (["--kind", "s8,float"], "'float' is no type of the IR; write u8, s4, bipolar, ternary, [lo, hi] or [lo, hi] step n"),
    (["--rows", "0"], "an array with rows 0; give 1 to 256"),
    (["--sum-bits", "4"], "sums of 4 bits do not hold even one product of u8 and s8; make sum_bits greater"),
    (["--depth", "100"], "tile memories of 100 words a half; give a power of two from 2 on"),
])
def test_bad_options_are_one_sentence(options: list[str], said: str, tmp_path: Path) -> None:
    assert run("overlay", *options, "-o", tmp_path / "array") == (2, "", f"bitwright: {said}\n")
    assert not (tmp_path / "array").exists()


def test_frames_of_a_network_are_not_for_an_overlay(tmp_path: Path) -> None:
    import numpy as np
    np.save(tmp_path / "x.npy", np.zeros((1, 2)))
    assert run("overlay", "--rows", 1, "--columns", 1, "--depth", 2, "-o", tmp_path / "array")[0] == 0
    code, _, said = run("verify", tmp_path / "array", "--input", tmp_path / "x.npy")
    assert code == 2
    assert "takes no frames" in said
