"""Plan files: round trip, and the sentence that each mistake gets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.plan import FAMILIES, LayerPlan, Plan, PlanError, dumps, fingerprint, load, loads, save
from intir import BIPOLAR, unsigned
from tests.networks import folded, make_design, mlp

LAYER = LayerPlan("mvu", 2, 3, "inputs", (7,))
PLAN = Plan("net", "0123456789abcdef", {"fc0": LAYER, "top": LayerPlan("argmax", 1)}, "ecp5", 250.0)
TEXT = dumps(PLAN)

COUNTS = st.integers(1, 2**20)
LAYERS = st.builds(LayerPlan, st.text(), COUNTS, st.none() | COUNTS, st.sampled_from([None, "outputs", "inputs"]),
                   st.none() | st.lists(st.integers(2, 2**20), min_size=1, max_size=3).map(tuple))
#: What an ONNX file can hold as a name, and more.
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.builds(Plan, NAMES, NAMES, st.dictionaries(NAMES, LAYERS, max_size=4), st.sampled_from(FAMILIES),
                 st.floats(0.001, 10_000), st.lists(st.integers(2, 2**20), max_size=3).map(tuple)))
def test_text_round_trip(plan: Plan) -> None:
    again = loads(dumps(plan))
    assert again == plan
    assert list(again.layers) == list(plan.layers)


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    save(PLAN, path)
    assert load(path) == PLAN
    assert path.read_text() == TEXT
    assert path.stat().st_mode & 0o777 == 0o644
    save(replace(PLAN, clock_mhz=1.5), path)
    assert load(path).clock_mhz == 1.5
    assert os.listdir(tmp_path) == ["plan.toml"]


def test_a_plan_reads_well() -> None:
    assert TEXT.splitlines()[12:] == [
        "version = 1", 'network = "net"', 'structure = "0123456789abcdef"', 'family = "ecp5"        # xilinx, ecp5, generic',
        "clock_mhz = 250.0", "", '[layers."fc0"]', 'engine = "mvu"', "pe = 2", "simd = 3", 'order = "inputs"', "fifo_depth = 7", "",
        '[layers."top"]', 'engine = "argmax"', "pe = 1"]
    assert all(line.startswith("# ") for line in TEXT.splitlines()[:11])


def test_what_may_be_left_out() -> None:
    plan = loads('version = 1\nnetwork = "n"\nstructure = "s"\n[layers.a]\nengine = "mvu"\npe = 1\n')
    assert plan == Plan("n", "s", {"a": LayerPlan("mvu", 1)}, "xilinx", 100.0)


COUNT = "give a whole number from"
MISTAKES = [
    ("version = 1", "version = 2", "p has version 2; this bitwright reads version 1"),
    ("version = 1", "version = true", "p has version True; this bitwright reads version 1"),
    ("version = 1", "version = 1.0", "p has version 1.0; this bitwright reads version 1"),
    ("version = 1\n", "", "p has no version; this bitwright reads version 1"),
    ("version = 1", "versoin = 1", "p: unknown key 'versoin'; known are clock_mhz, control, device, family, input_fifo_depth, layers, network, structure, version"),
    ("simd = 3", "smid = 3", "p, layer 'fc0': unknown key 'smid'; known are code_bits, engine, entries, fifo_depth, index_bits, multiplier, order, pe, queue_depth, read_entries, reloadable, simd, through, weight_memory, weights, window_memory"),
    ('family = "ecp5"', 'family = "ice40"', "p: family is 'ice40'; choose one of xilinx, ecp5, generic"),
    ('family = "ecp5"', "family = 5", "p: family is 5; choose one of xilinx, ecp5, generic"),
    ("clock_mhz = 250.0", "clock_mhz = 0", "p: clock_mhz is 0; give a clock in MHz between 0.001 and 10000"),
    ("clock_mhz = 250.0", "clock_mhz = nan", "p: clock_mhz is nan; give a clock in MHz between 0.001 and 10000"),
    ("clock_mhz = 250.0", "clock_mhz = 1e-310", "p: clock_mhz is 1e-310; give a clock in MHz between 0.001 and 10000"),
    ("clock_mhz = 250.0", "clock_mhz = inf", "p: clock_mhz is inf; give a clock in MHz between 0.001 and 10000"),
    ("clock_mhz = 250.0", "clock_mhz = true", "p: clock_mhz is True; give a clock in MHz between 0.001 and 10000"),
    ("clock_mhz = 250.0", 'clock_mhz = "fast"', "p: clock_mhz is 'fast'; give a clock in MHz between 0.001 and 10000"),
    ('network = "net"', "network = 7", "p: network is 7; give it as text in quotes"),
    ('structure = "0123456789abcdef"\n', "", "p: structure is missing; give it as text in quotes"),
    ('engine = "mvu"\n', "", "p, layer 'fc0': engine is missing; give it as text in quotes"),
    ("pe = 2\n", "", f"p, layer 'fc0': pe is missing; {COUNT} 1 to 1048576"),
    ("pe = 2", "pe = 0", f"p, layer 'fc0': pe is 0; {COUNT} 1 to 1048576"),
    ("pe = 2", "pe = -3", f"p, layer 'fc0': pe is -3; {COUNT} 1 to 1048576"),
    ("pe = 2", "pe = 2.0", f"p, layer 'fc0': pe is 2.0; {COUNT} 1 to 1048576"),
    ("pe = 2", "pe = true", f"p, layer 'fc0': pe is True; {COUNT} 1 to 1048576"),
    ("pe = 2", 'pe = "2"', f"p, layer 'fc0': pe is '2'; {COUNT} 1 to 1048576"),
    ("pe = 2", "pe = 1048577", f"p, layer 'fc0': pe is 1048577; {COUNT} 1 to 1048576"),
    ("simd = 3", "simd = 0", f"p, layer 'fc0': simd is 0; {COUNT} 1 to 1048576"),
    ("fifo_depth = 7", "fifo_depth = 1", f"p, layer 'fc0': fifo_depth is 1; {COUNT} 2 to 1048576"),
    ("fifo_depth = 7", "fifo_depth = [7, 1]", f"p, layer 'fc0': fifo_depth is 1; {COUNT} 2 to 1048576"),
    ("fifo_depth = 7", "fifo_depth = []", "p, layer 'fc0': fifo_depth is an empty list; give one depth for each reader, or leave it out"),
    ('order = "inputs"', 'order = "rows"', "p, layer 'fc0': order is 'rows'; choose one of outputs, inputs"),
    ('order = "inputs"', "order = [1]", "p, layer 'fc0': order is [1]; choose one of outputs, inputs"),
    ('order = "inputs"', 'weight_memory = "bram"', "p, layer 'fc0': weight_memory is 'bram'; choose one of auto, distributed, block"),
    ('order = "inputs"', "window_memory = 1", "p, layer 'fc0': window_memory is 1; choose one of auto, distributed, block"),
    ('order = "inputs"', 'multiplier = "dps"', "p, layer 'fc0': multiplier is 'dps'; choose one of auto, logic, dsp"),
]


@pytest.mark.parametrize(("right", "wrong", "sentence"), MISTAKES)
def test_each_mistake_gets_its_sentence(right: str, wrong: str, sentence: str) -> None:
    assert right in TEXT
    with pytest.raises(PlanError) as caught:
        loads(TEXT.replace(right, wrong, 1), "p")
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("text", "start"), [
    ("version = ", "p is no valid TOML: Invalid value (at end of document); mend that line or write a new plan with `bitwright plan`"),
    ("a = 1\na = 2\n", "p is no valid TOML: Cannot overwrite a value (at line 2, column 6); mend that line"),
    ("a = " + "[" * 5000, "p is no valid TOML: "),
    ("version = 1\nlayers = 3\n", "p: 'layers' holds 3; give one table [layers.NAME] per layer"),
    ("version = 1\n[layers]\nfc0 = 3\n", "p: 'layers' holds {'fc0': 3}; give one table [layers.NAME] per layer"),
    ("version = 1" + "1" * 5000, "p is no valid TOML: "),
])
def test_what_is_no_plan_at_all(text: str, start: str) -> None:
    with pytest.raises(PlanError) as caught:
        loads(text, "p")
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"network = \"\xe9\"\n")
    for path, reason in [(tmp_path / "none.toml", "No such file or directory"), (tmp_path, "Is a directory"),
                         (latin, "it is not UTF-8 text"), (latin / "below", "Not a directory")]:
        with pytest.raises(PlanError) as caught:
            load(path)
        assert str(caught.value) == f"cannot read the plan '{path}': {reason}; give the path of a plan TOML file"


def test_an_error_names_its_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(TEXT.replace("pe = 2", "pe = 0"))
    with pytest.raises(PlanError, match=f"^plan '{path}', layer 'fc0': pe is 0; "):
        load(path)


def test_unwritable_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path, reason in [(tmp_path / "none" / "plan.toml", "No such file or directory"), (tmp_path / "file" / "plan.toml", "Not a directory"),
                         (tmp_path, "Is a directory")]:
        with pytest.raises(PlanError) as caught:
            save(PLAN, path)
        assert str(caught.value) == f"cannot write the plan '{path}': {reason}; choose a folder that exists and is writable"
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_failed_write_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.toml"
    save(PLAN, path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PlanError, match=f"^cannot write the plan '{path}': No space left on device; choose a folder"):
        save(replace(PLAN, network="other"), path)
    assert path.read_text() == TEXT
    assert os.listdir(tmp_path) == ["plan.toml"]


def test_the_fingerprint_is_of_the_structure_and_not_of_the_weights() -> None:
    base = fingerprint(mlp((12, 8, 4)))
    assert fingerprint(mlp((12, 8, 4), seed=1)) == base
    others = [mlp((12, 8, 5)), mlp((12, 4)), mlp((12, 8, 4), head="argmax"), mlp((12, 8, 4), head="levels"), mlp((12, 8, 4), rows=2)]
    assert len({base, *map(fingerprint, others)}) == 6


GRAPH = mlp((12, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax", name="tiny")
GOOD = folded(GRAPH, [(4, 6), (5, 2)])


def changed(layer: str, **fields: object) -> Plan:
    return replace(GOOD, layers=GOOD.layers | {layer: replace(GOOD.layers[layer], **fields)})


def without(layer: str) -> Plan:
    return replace(GOOD, layers={name: entry for name, entry in GOOD.layers.items() if name != layer})


WRONG = [
    (replace(GOOD, structure="00", network="other"),
     f"the plan is for the network 'other' with structure 00, but 'tiny' has structure {fingerprint(GRAPH)}; "
     "make a plan for this network with `bitwright plan`"),
    (without("fc1"), "the plan lacks the layer 'fc1'; add [layers.\"fc1\"] with its engine and folding"),
    (replace(GOOD, layers=GOOD.layers | {"fc9": GOOD.layers["fc1"]}),
     "the plan has a layer 'fc9', which the network lacks; its layers are quantizer, fc0, fc1, top"),
    (changed("fc0", engine="vvu"), "layer 'fc0': the plan's engine 'vvu' cannot run it; write engine = \"mvu\""),
    (changed("top", engine="mvu"), "layer 'top': the plan's engine 'mvu' cannot run it; write engine = \"argmax\""),
    (changed("fc0", pe=3), "layer 'fc0': pe = 3 does not divide its 8 outputs; the nearest that do are 2 and 4"),
    (changed("fc0", pe=100), "layer 'fc0': pe = 100 does not divide its 8 outputs; the nearest that does is 8"),
    (changed("fc0", pe=0), "layer 'fc0': pe = 0 does not divide its 8 outputs; the nearest that does is 1"),
    (changed("fc0", simd=5), "layer 'fc0': simd = 5 does not divide its 12 inputs; the nearest that do are 4 and 6"),
    (changed("fc0", simd=None), "layer 'fc0' has no simd; give one that divides its 12 inputs"),
    (changed("quantizer", pe=7), "layer 'quantizer': pe = 7 does not divide its 12 elements; the nearest that do are 6 and 12"),
    (changed("top", pe=4), "layer 'top': pe = 4 does not divide its 10 channels; the nearest that do are 2 and 5"),
    (changed("top", simd=2), "layer 'top': the engine 'argmax' has no simd, but the plan says 2; remove that line"),
    (changed("quantizer", simd=2), "layer 'quantizer': the engine 'thresholding' has no simd, but the plan says 2; remove that line"),
    (changed("quantizer", weight_memory="block"),
     "layer 'quantizer': the engine 'thresholding' has no weight_memory, but the plan says 'block'; remove that line"),
    (changed("quantizer", order="inputs"),
     "layer 'quantizer': the engine 'thresholding' has no order, but the plan says 'inputs'; remove that line"),
]


@pytest.mark.parametrize(("plan", "sentence"), WRONG, ids=[sentence[:40] for _, sentence in WRONG])
def test_a_plan_that_does_not_fit_its_network(plan: Plan, sentence: str) -> None:
    with pytest.raises(PlanError) as caught:
        make_design(GRAPH, plan)
    assert str(caught.value) == sentence


def test_a_retrained_network_keeps_its_plan() -> None:
    again = mlp((12, 8, 10), x=unsigned(8), quantize=BIPOLAR, head="argmax", name="tiny", seed=5)
    assert make_design(again, GOOD).rate() == make_design(GRAPH, GOOD).rate()
