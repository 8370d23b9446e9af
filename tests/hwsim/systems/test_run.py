"""Whole runs: what must hold for any network on any machine."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.systems.machine import DATAFLOWS, Array, Dram, Machine, Sram
from hwsim.systems.memory import Memory, RunError, resident
from hwsim.systems.report import STALLS, SystemReport
from hwsim.systems.run import simulate
from hwsim.systems.work import Tensor, Work, Workload
from tests.hwsim.systems.examples import S8, TABLE, conv, dense, machine, network, resnet18

arrays = st.builds(Array, st.just("systolic"), st.sampled_from([4, 8, 32]), st.sampled_from([4, 16]), st.sampled_from(DATAFLOWS),
                   overlapped=st.booleans(), sum_bits=st.just(32))


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    split = draw(st.booleans())
    kib, double = draw(st.sampled_from([4, 16, 64, 512])) * 1024, draw(st.booleans())
    width, banks = draw(st.sampled_from([32, 128, 1024])), draw(st.sampled_from([1, 4]))
    srams = (tuple(Sram(what, kib, width, banks, (what,), double) for what in ("activations", "weights", "sums")) if split
             else (Sram("buffer", 3 * kib, width, banks, ("activations", "weights", "sums"), double),))
    dram = Dram("LPDDR4", draw(st.sampled_from([0.5, 4.0, 64.0])), draw(st.sampled_from([0.0, 100.0])), draw(st.sampled_from([1, 64])))
    return Machine("drawn", "", "", 45, draw(st.sampled_from([100.0, 1000.0])), draw(arrays), srams, dram,
                   vector_lanes=draw(st.sampled_from([1, 16])), algorithms=draw(st.sampled_from([("direct",), ("direct", "im2col", "winograd")])))


@st.composite
def networks(draw: st.DrawFn) -> Workload:
    size = draw(st.sampled_from([(1, 30), (9, 7), (16, 16)]))
    channels, filters, depth = draw(st.sampled_from([1, 3, 16])), draw(st.sampled_from([4, 17, 64])), draw(st.booleans())
    kernel = draw(st.sampled_from([1, 3]))
    works = [conv("first", size, channels, filters, (kernel, kernel), (1, 1), kernel // 2)]
    if depth:
        works.append(conv("deep", size, filters, filters, (3, 3), draw(st.sampled_from([(1, 1), (2, 2)])), 1, filters, inputs=("first",)))
    last = works[-1]
    works.append(Work("pool", "pool", (last.name,), (last.output,), Tensor(last.output.elements // 2, S8), operations={"compare": last.output.elements}))
    works.append(dense("fc", works[-1].output.elements, 10, ("pool",)))
    return network(*works)


def total(report: SystemReport) -> float:
    return report.dram_bytes


@given(net=networks(), made=machines(), batch=st.sampled_from([1, 3]))
@settings(max_examples=80, deadline=None)
def test_totals_are_sums_of_parts(net: Workload, made: Machine, batch: int) -> None:
    report = simulate(net, made, batch=batch, table=TABLE)
    start = 0
    for layer, work in zip(report.layers, net.works, strict=True):
        assert layer.name == work.name
        assert layer.start_cycle == start
        assert layer.array_cycles + sum(layer.stall_cycles.values()) == layer.cycles
        assert set(layer.stall_cycles) <= set(STALLS)
        assert all(cycles > 0 for cycles in layer.stall_cycles.values())
        assert layer.macs == work.macs * batch
        assert 0 <= layer.utilisation <= 1
        assert layer.bound == max(("array", *layer.stall_cycles), key=lambda cause: layer.array_cycles if cause == "array" else layer.stall_cycles[cause])
        assert layer.dram_peak_gb_per_s <= made.dram.gb_per_s * (1 + 1e-9)
        assert layer.bytes_at("dram") * made.clock_mhz / 1e3 <= made.dram.gb_per_s * max(layer.cycles, 1) * (1 + 1e-9)
        start += layer.cycles
    assert report.cycles == start
    assert report.energy_pj.keys() == {component for layer in report.layers for component in layer.energy_pj}
    assert report.total_pj == pytest.approx(sum(pj for layer in report.layers for pj in layer.energy_pj.values()))
    json.dumps(report.as_dict())


@given(net=networks(), made=machines(), batch=st.sampled_from([1, 3]))
@settings(max_examples=50, deadline=None)
def test_traffic_agrees_with_the_actions(net: Workload, made: Machine, batch: int) -> None:
    moves = {"dram_read": "read", "dram_write": "write", "sram_read": "read", "sram_write": "write", "register_read": "read",
             "register_write": "write", "array_hop": "read"}
    for layer in simulate(net, made, batch=batch, table=TABLE).layers:
        for component, counts in layer.actions.items():
            bits = {"read": 0.0, "write": 0.0}
            for action, count in counts.items():
                if action.name in moves:
                    bits[moves[action.name]] += count * action.bits
            for direction, moved in bits.items():
                assert layer.bytes_at(component, direction) * 8 == pytest.approx(moved)
        assert {one.level for one in layer.traffic} <= set(layer.actions)
        for level, size in layer.footprint_bytes.items():
            for sram in made.srams:
                assert sram.name != level or size <= sram.bytes * (1 + 1e-9)


@given(net=networks(), made=machines(), factor=st.sampled_from([1.5, 4.0]))
@settings(max_examples=50, deadline=None)
def test_wider_dram_is_never_slower(net: Workload, made: Machine, factor: float) -> None:
    wider = replace(made, dram=replace(made.dram, gb_per_s=made.dram.gb_per_s * factor))
    assert simulate(net, wider, table=TABLE).cycles <= simulate(net, made, table=TABLE).cycles


@given(net=networks(), made=machines(), factor=st.sampled_from([2, 3]))
@settings(max_examples=50, deadline=None)
def test_larger_memories_are_never_slower_for_a_layer_by_itself(net: Workload, made: Machine, factor: int) -> None:
    larger = replace(made, srams=tuple(replace(one, bytes=one.bytes * factor) for one in made.srams))
    for work in net.works:
        alone = network(replace(work, inputs=("",) * len(work.inputs)))
        before, after = (simulate(alone, one, table=TABLE) for one in (made, larger))
        assert after.cycles <= before.cycles


@given(net=networks(), made=machines())
@settings(max_examples=50, deadline=None)
def test_a_larger_memory_never_moves_more_where_dram_is_the_bound(net: Workload, made: Machine) -> None:
    """A DRAM so slow, and without latency, that time is traffic."""
    slow = replace(made, dram=Dram("LPDDR4", 1e-4, 0.0, 1), algorithms=("direct",))
    larger = replace(slow, srams=tuple(replace(one, bytes=one.bytes * 2) for one in slow.srams))
    for work in net.works:
        alone = network(replace(work, inputs=("",) * len(work.inputs)))
        before, after = (simulate(alone, one, table=TABLE) for one in (slow, larger))
        assert after.dram_bytes <= before.dram_bytes * 1.001


@given(net=networks(), made=machines())
@settings(max_examples=50, deadline=None)
def test_twice_the_clock_halves_what_computing_takes_and_never_makes_it_slower(net: Workload, made: Machine) -> None:
    fast = replace(made, clock_mhz=made.clock_mhz * 2)
    slow_run, fast_run = (simulate(net, one, table=TABLE) for one in (made, fast))
    assert fast_run.seconds <= slow_run.seconds * (1 + 1e-9) + len(net.works) / (fast.clock_mhz * 1e6)
    assert fast_run.cycles >= slow_run.cycles - len(net.works)  # DRAM gets no faster
    endless = replace(made.dram, gb_per_s=1e9, latency_ns=0.0)
    slow_run, fast_run = (simulate(net, replace(one, dram=endless), table=TABLE) for one in (made, fast))
    assert fast_run.seconds == pytest.approx(slow_run.seconds / 2, rel=1e-3, abs=len(net.works) / (made.clock_mhz * 1e6))


@given(made=machines())
@settings(max_examples=40, deadline=None)
def test_a_batch_scales_computing_and_never_needs_more_weights_than_its_frames_one_by_one(made: Machine) -> None:
    net = network(conv(size=(8, 8), channels=16, filters=32))
    made = replace(made, algorithms=("direct",))
    one, four = (simulate(net, made, batch=batch, table=TABLE).layers[0] for batch in (1, 4))
    assert four.macs == 4 * one.macs
    assert four.cycles <= 4 * one.cycles
    count = [sum(number for action, number in layer.actions["array"].items() if action.name == "int_multiply") for layer in (one, four)]
    assert count[1] == 4 * count[0]


def test_a_batch_loads_weights_once_where_they_fit() -> None:
    net = network(conv())
    one, eight = (simulate(net, machine(), batch=batch, table=TABLE).layers[0] for batch in (1, 8))
    assert eight.bytes_at("dram", "read", "weights") == one.bytes_at("dram", "read", "weights") == 64 * 64 * 9
    assert eight.bytes_at("dram", "write", "outputs") == 8 * 14 * 14 * 64


def test_a_machine_without_double_buffers_waits_for_every_load() -> None:
    double = machine(gb_per_s=4.0)
    single = replace(double, srams=tuple(replace(one, double_buffered=False, bytes=one.bytes // 2) for one in double.srams))
    with_, without = (simulate(network(conv()), one, table=TABLE).layers[0] for one in (double, single))
    assert without.cycles > with_.cycles
    loads = sum(without.bytes_at("dram", direction) for direction in ("read", "write")) / (4.0 * 1e3 / 500)
    assert without.stall_cycles["dram_read"] + without.stall_cycles.get("dram_write", 0) >= loads


def test_narrow_ports_and_slow_vector_units_are_stalls_of_their_own() -> None:
    narrow = machine()
    narrow = replace(narrow, srams=tuple(replace(one, width_bits=8, banks=1) for one in narrow.srams))
    layer = simulate(network(conv()), narrow, table=TABLE).layers[0]
    assert layer.bound == "sram"
    read = sum(one.bytes for one in layer.traffic if one.level == "acts" and one.direction == "read" and one.what == "activations")
    assert layer.cycles >= read
    layer = simulate(network(conv(operations={"multiply": 3 * 10**6})), machine(), table=TABLE).layers[0]
    assert layer.bound == "vector"
    assert 3 * 10**6 / 32 <= layer.cycles <= 3 * 10**6 / 32 * 1.05


def test_activations_stay_on_chip_where_they_fit() -> None:
    net = network(conv("a"), conv("b", inputs=("a",)), conv("c", inputs=("b",)))
    big, small = (simulate(net, machine(kib=kib), table=TABLE) for kib in (256, 12))
    assert [layer.bytes_at("dram", what="activations") > 0 for layer in big.layers] == [True, False, False]
    assert [layer.bytes_at("dram", what="outputs") > 0 for layer in big.layers] == [False, False, True]
    assert all(layer.bytes_at("dram", what="outputs") > 0 for layer in small.layers)
    assert big.layers[1].footprint_bytes["acts"] >= 2 * 14 * 14 * 64


def test_what_two_layers_read_stays_until_the_second() -> None:
    net = network(conv("a"), conv("b", inputs=("a",)), Work("join", "elementwise", ("a", "b"), (conv("a").output, conv("b").output), conv("a").output,
                                                           operations={"add": 14 * 14 * 64}))
    here, used = resident(net.works, Memory(machine()), 1)
    assert here == [{"a"}, {"a", "b"}, {"a", "b"}]
    assert used == [12544, 25088, 25088]
    report = simulate(net, machine(), table=TABLE)
    assert report.layers[2].bytes_at("dram", "read") == 0
    assert report.layers[2].array_cycles == 14 * 14 * 64 // 32


def test_grouped_layers_are_computed_side_by_side() -> None:
    """On a weight-stationary array, 32 channels of 3x3 taps are 288 rows, 9 folds of 32."""
    layer = simulate(network(conv(channels=96, filters=96, groups=96)), machine(Array("systolic", 32, 32, "weight_stationary")), table=TABLE).layers[0]
    assert layer.array_cycles == 96 // 32 * 9 * 196
    assert "groups of" in layer.mapping
    assert layer.bytes_at("dram", "read", "weights") >= 96 * 9


def test_identical_layers_differ_in_name_and_start_only() -> None:
    report = simulate(resnet18(), machine(kib=64), table=TABLE)
    twin = [layer for layer in report.layers if layer.name in ("conv2_a2", "conv2_b1")]
    assert replace(twin[1], name=twin[0].name, start_cycle=twin[0].start_cycle) == twin[0]
    assert report.macs == 1_814_073_344  # torchvision's ResNet-18


@pytest.mark.parametrize(("changes", "message"), [
    ({"srams": (Sram("acts", 4096, 64, holds=("activations",)),)}, r"^machine test: no SRAM holds weights; add \"weights\" to one's holds$"),
    ({"array": Array("dataflow", 1, 1, device="xc7a100t")}, "a design of its own"),
])
def test_a_machine_that_lacks_something_is_a_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RunError, match=message):
        simulate(network(conv()), machine(**changes), table=TABLE)  # type: ignore[arg-type]


def test_a_batch_of_none_is_a_sentence() -> None:
    with pytest.raises(RunError, match="a batch of 0 frames; give 1 or more"):
        simulate(network(conv()), machine(), batch=0, table=TABLE)
