"""docs/energy.md: its example, its table of figures, its own table and the errors it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from hwsim.energy import EnergyError, energy_table, table_names
from hwsim.energy.file import read_table
from hwsim.systems.actions import Action

TEXT = (Path(__file__).parents[2] / "docs" / "energy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
OWN = next(block for kind, block in BLOCKS if block.startswith('name = "mine"'))
ERRORS = next(block for kind, block in BLOCKS if block.startswith("mine.csv:")).splitlines()


def test_the_example_prints_what_is_shown() -> None:
    code, shown = BLOCKS[0][1], BLOCKS[1][1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == shown


def test_every_table_is_named() -> None:
    named = TEXT[TEXT.index("## Tables"):TEXT.index("Energy in pJ")]
    assert set(table_names()) == set(re.findall(r"`(\w+)`", named))


def test_the_figures() -> None:
    actions = [Action("int_add", 32), Action("int_multiply", 8, 8), Action("int_multiply", 16, 16), Action("binary_accumulate", 16),
               Action("register_read", 16, bytes=512), Action("sram_read", 64, bytes=8 << 10), Action("sram_read", 64, bytes=128 << 10),
               Action("sram_read", 64, bytes=1 << 20), Action("dram_read", 64, kind="LPDDR4")]
    rows = re.findall(r"^\| `(\w+)` \|((?: [\d.]+ \|){9})$", TEXT, re.MULTILINE)
    assert len(rows) == 6
    for name, cells in rows:
        assert [cell.strip() for cell in cells.strip("| ").split("|")] == [f"{energy_table(name).action_pj(action):.4g}" for action in actions]


def test_the_own_table_and_its_errors(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(OWN)
    assert energy_table(tmp_path / "mine.csv").action_pj(Action("dram_read", 64, kind="LPDDR9")) == 250
    for (old, new), says in zip((("0.07,m", "-0.07,m"), ("int_multiply,8", "int_mutliply,8"), ('unit = "pJ"', "#")), ERRORS, strict=True):
        with pytest.raises(EnergyError, match="^" + re.escape(says) + "$"):
            read_table(OWN.replace(old, new), "mine.csv")
