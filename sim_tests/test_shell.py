"""The control shell: both drivers against the RTL, every byte the reference's, every counter what hwsim predicts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from codegen.bundle import Bundle
from sim_tests.shell_simulation import BENCH, RUNS, counters, shelled, simulate

pytest.importorskip("cocotbext.axi")

#: What `shell_bench` must have run.
CASES = {
    "reset_values_and_access": 2, "addresses_without_a_register": 1, "a_run": 2, "hostile_traffic": 4, "address_and_data_apart": 1,
    "soft_reset_in_the_middle": 2, "soft_reset_and_start_at_once": 1, "a_wrong_tlast": 1, "a_copy_that_starts_itself": 2,
    "stop_in_the_middle_of_a_frame": 1, "sixty_four_bits_of_one_moment": 1, "counters_of_any_size": 1,
    "so_many_frames_and_no_more": 1, "no_other_address": 1, "an_idle_bus": 1, "each_interrupt_by_itself": 1, "only_clear_clears": 1,
    "stop_while_half_a_frame_is_in": 1,
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return shelled(tmp_path_factory.mktemp("shell") / "bundle")


@pytest.fixture(scope="module", params=["verilator", "icarus"])
def outcome(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[dict[str, str | None], dict[str, Any]]:
    return simulate(bundle, BENCH, tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("name", CASES)
def test_in_simulation(outcome: tuple[dict[str, str | None], dict[str, Any]], name: str) -> None:
    found = {case: failure for case, failure in outcome[0].items() if re.fullmatch(rf"{name}(/.*)?", case)}
    assert len(found) == CASES[name]
    assert not any(found.values()), found


@pytest.mark.parametrize("name", RUNS)
def test_counters_are_what_hwsim_predicts(bundle: Bundle, outcome: tuple[dict[str, str | None], dict[str, Any]], name: str) -> None:
    found, expected = counters(bundle.design, outcome[1][name])
    assert found == expected
    if name.startswith("hostile"):
        assert expected["input_stalls"] > 10 and expected["output_stalls"] > 10
