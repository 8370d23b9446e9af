"""Searches: known optima, bounds that hold whatever the cost does, going on after a kill, hostile files."""

import itertools
import json
import logging
import math
import random

import pytest

pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("optuna", reason="searches need optuna")

import torch
from torch import nn

from quant.compress import CompressionError
from quant.compress.search import choose as search
from quant.compress.search.choose import search_bits, search_densities
from quant.compress.search.study import Trial
from quant.nn import IntQuant, density_report, export_qonnx, memory_use
from tests.quant.nn.test_ptq import check_integers

DENSITIES = (0.1, 0.25, 0.5, 0.75, 1.0)
SIZES = {"0": (20, 10), "2": (10, 20), "4": (20, 4)}
#: How much the toy's score needs each layer.
WORTH = {"0": 1.0, "2": 6.0, "4": 2.0}


def toy():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 4))


def nonzeros(network):
    return float(density_report(network)[-1].nonzeros)


def score(network):
    return sum(WORTH[one.layer] * math.sqrt(one.density) for one in density_report(network)[:-1])


def all_choices():
    """(score, cost, densities) of every choice, by formula."""
    for some in itertools.product(DENSITIES, repeat=3):
        counts = {name: max(1, math.floor(density * a * b + 0.5)) for density, (name, (a, b)) in zip(some, SIZES.items(), strict=True)}
        worth = sum(WORTH[name] * math.sqrt(counts[name] / (a * b)) for name, (a, b) in SIZES.items())
        yield worth, sum(counts.values()), some


def test_the_known_optimum_within_a_budget_is_found_and_the_bound_holds():
    network = toy()
    before = [one.clone() for one in network.parameters()]
    result = search_densities(network, score, cost=nonzeros, budget=200, densities=DENSITIES, trials=60)
    wanted = max(one for one in all_choices() if one[1] <= 200)
    assert (result.best.score, result.best.cost) == (pytest.approx(wanted[0]), wanted[1])
    assert tuple(result.best.choice.values()) == wanted[2]
    assert len(result.trials) == 60
    assert all(one.cost <= 200 for one in result.trials)
    assert nonzeros(result.build(result.best)) == result.best.cost
    # the first trial: the most that all can have alike
    assert set(result.trials[0].choice.values()) == {0.25}
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_without_a_budget_the_front_of_score_and_cost_is_found(sampler):
    result = search_densities(toy(), score, cost=nonzeros, densities=DENSITIES, trials=80, sampler=sampler)
    best = -math.inf
    for one in result.front:  # by definition
        assert one.score > best
        best = one.score
        assert not any(other.cost <= one.cost and other.score > one.score for other in result.trials)
    assert [one.cost for one in result.front] == sorted(one.cost for one in result.front)

    def area(points):
        """Under the front, up to the most cost."""
        points = sorted(points)
        ends = [cost for cost, _ in points[1:]] + [480]
        heights = itertools.accumulate((worth for _, worth in points), max)
        return sum((end - cost) * height for (cost, _), end, height in zip(points, ends, heights, strict=True))

    whole = area([(cost, worth) for worth, cost, _ in all_choices()])
    assert area([(one.cost, one.score) for one in result.front]) > 0.95 * whole


def test_a_reward_joins_score_and_cost():
    def reward(value, cost):
        return value - 0.01 * cost

    result = search_densities(toy(), score, cost=nonzeros, reward=reward, densities=DENSITIES, trials=60)
    wanted = max(worth - 0.01 * cost for worth, cost, _ in all_choices())
    assert reward(result.best.score, result.best.cost) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_for_costs_that_do_not_fall(seed):
    """A cost that jumps about: no order of lowering helps, but the least of everything fits."""
    def jumping(network):
        counts = tuple(one.nonzeros for one in density_report(network)[:-1])
        return 1.0 if all(one <= 20 for one in counts) else random.Random(f"{counts}{seed}").uniform(0, 10)

    result = search_densities(toy(), score, cost=jumping, budget=3.0, densities=DENSITIES, trials=20, seed=seed)
    assert all(one.cost <= 3.0 for one in result.trials)
    assert all(jumping(result.build(one)) == one.cost for one in result.trials)


def test_proposals_are_cut_as_amc_cuts_them(monkeypatch):
    """Earlier layers keep their densities, the one in which the budget ends has the most that fits, later ones have the least."""
    found = {}

    def every_choice(space, judge, *arguments, **options):
        for some in itertools.product(DENSITIES, repeat=3):
            found[some] = judge(dict(zip(space, some, strict=True)))
        return [Trial(0, *found[some])]

    monkeypatch.setattr(search, "run", every_choice)
    search_densities(toy(), score, cost=nonzeros, budget=200, densities=DENSITIES)
    assert len(found) == 125
    for some, (choice, _, cost) in found.items():
        counts = {name: [max(1, math.floor(density * a * b + 0.5)) for density in DENSITIES] for name, (a, b) in SIZES.items()}
        spare, cut = 200 - sum(one[0] for one in counts.values()), False
        for name, proposed in zip(SIZES, some, strict=True):
            level = 0 if cut else max(one for one in range(DENSITIES.index(proposed) + 1) if counts[name][one] - counts[name][0] <= spare)
            assert choice[name] == DENSITIES[level]
            cut |= DENSITIES[level] < proposed
            spare -= counts[name][level] - counts[name][0]
        assert cost == 200 - spare


# --- files ---


class Kill(BaseException):
    """Nothing catches it, like a kill."""


def killed_after(count):
    seen = 0

    def evaluate(network):
        nonlocal seen
        seen += 1
        if seen > count:
            raise Kill
        return score(network)

    return evaluate


@pytest.mark.parametrize("options", [{"budget": 200.0}, {"sampler": "nsga2"}], ids=["tpe", "nsga2"])
def test_a_killed_search_goes_on_as_if_nothing_had_been(options, tmp_path):
    options = {"cost": nonzeros, "densities": DENSITIES, "trials": 45, **options}
    file = tmp_path / "search.journal"
    for count in (0, 5, 5):
        with pytest.raises(Kill):
            search_densities(toy(), killed_after(count), file=file, **options)
        with file.open("ab") as stream:  # the kill came in the middle of a write
            stream.write(b'{"op_code":5,"worker')
    told = []
    found = search_densities(toy(), score, file=file, progress=lambda trial, of: told.append((trial.number, of)), **options)
    assert found.trials == search_densities(toy(), score, **options).trials
    assert len(found.trials) == 45
    assert told and told == [(number, 45) for number in range(told[0][0], 45)]
    assert told[0][0] >= 5  # what was finished isn't done again
    with pytest.raises(Kill):  # more trials, from there
        search_densities(toy(), killed_after(0), file=file, **{**options, "trials": 400})
    assert search_densities(toy(), killed_after(0), file=file, **options).trials == found.trials
    assert [one.name for one in tmp_path.iterdir()] == ["search.journal"]


def searched(file, network=None, **options):
    return search_densities(network or toy(), score, **{"cost": nonzeros, "densities": DENSITIES, "trials": 4, "file": file, "budget": 200,
                                                        **options})


def test_the_file_of_another_search_is_refused(tmp_path):
    file = tmp_path / "search.journal"
    searched(file)
    before = file.read_bytes()
    other = toy()
    with torch.no_grad():
        other[0].weight[0, 0] += 1
    for options, what in (({"network": other}, "network"), ({"budget": 150}, "budget"), ({"seed": 1}, "seed"),
                          ({"densities": (0.2, 0.5)}, "space"), ({"sampler": "nsga2"}, "sampler"),
                          ({"reward": lambda value, cost: value}, "objective"), ({"layers": ["0", "4"], "budget": 300}, "space")):
        with pytest.raises(CompressionError, match=rf"another search \(its .*{what}.* differ\)"):
            searched(file, **options)
        assert file.read_bytes() == before
    with file.open("ab") as stream:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(CompressionError, match="another search is writing"):
            searched(file)


def corrupted(lines):
    """Ways to damage a journal: (name, bytes)."""
    text = [json.loads(one) for one in lines]

    def changed(change):
        new = json.loads(json.dumps(text))
        for entry in new:
            change(entry)
        return b"".join(json.dumps(one).encode() + b"\n" for one in new)

    def attribute(key, value):
        def change(entry):
            if key in entry.get("user_attr", {}):
                entry["user_attr"][key] = value
        return changed(change)

    yield b"not a journal\n"
    yield b"no end of line"
    yield b"\x00\xff\xfe" * 100 + b"\n"
    yield b"[" * 100_000 + b"\n"
    yield b'{"op_code": 99, "worker_id": "x"}\n'
    yield b'{"op_code": 4}\n'
    yield b"[1, 2]\n"
    yield b"".join(lines[:3]) + b"garbage\n" + b"".join(lines[3:])
    yield b"".join(lines[4:])  # trials of no study
    yield attribute("score", "high")
    yield attribute("score", float("nan"))
    yield attribute("cost", None)
    yield attribute("choice", {"0": 0.5})
    yield attribute("choice", {"0": 0.5, "2": 0.33, "4": 1.0})
    yield attribute("choice", [1, 2, 3])
    yield attribute("search", 5)


def test_hostile_and_damaged_files_are_refused_and_left_alone(tmp_path):
    file = tmp_path / "search.journal"
    searched(file)
    lines = file.read_bytes().splitlines(keepends=True)
    for number, data in enumerate(corrupted(lines)):
        bad = tmp_path / f"{number}.journal"
        bad.write_bytes(data)
        with pytest.raises(CompressionError) as caught:
            searched(bad)
        assert "\n" not in str(caught.value)
        assert bad.read_bytes().startswith(data), number
    for path, message in ((tmp_path, "can't be written"), (tmp_path / "none" / "search.journal", "no folder")):
        with pytest.raises(CompressionError, match=message):
            searched(path)


def test_optuna_says_nothing(capfd, caplog):
    logging.getLogger("optuna").propagate = True
    searched(None)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


# --- bits ---


def digits_like():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(),
                            nn.Linear(8, 3))
    return network, torch.rand(30, 1, 8, 8)


def test_densities_and_then_bits_are_searched_within_a_budget_and_lowered_exactly(tmp_path):
    network, x = digits_like()
    found = search_densities(network, lambda pruned: -float((pruned(x) - network(x)).square().mean()), cost=nonzeros, budget=400,
                             trials=5)
    network = found.build(found.best)
    wanted, zeros = network(x), network[2].weight == 0
    assert zeros.any()

    def near(quantized):
        return -float((quantized(x) - wanted).square().mean())

    def size(quantized):
        return float(memory_use(quantized, x[:1]).weights.quantized)

    result = search_bits(network, x, near, cost=size, budget=400, weight_bits=(2, 6), activation_bits=(3, 5), trials=6,
                         method="minmax")
    assert set(result.best.choice) == {"2.weight", "5.weight", "_1_quant", "_3_quant"}
    assert all(one.cost <= 400 for one in result.trials)
    assert max(one.cost for one in result.trials) > 360
    for one in result.trials:
        assert all(2 <= one.choice[name] <= 6 for name in ("2.weight", "5.weight"))
        assert all(3 <= one.choice[name] <= 5 for name in ("_1_quant", "_3_quant"))
    best = result.build(result.best)
    assert near(best) == result.best.score == max(one.score for one in result.trials)
    bits = {name: part.bits for name, part in best.named_modules() if isinstance(part, IntQuant)}
    assert bits == {**{name.replace(".weight", ".weight_quant"): width for name, width in result.best.choice.items()},
                    "input_quant": 8, "0.weight_quant": 8, "7.weight_quant": 8, "_6_quant": 8}
    export_qonnx(best, x[:1], tmp_path / "network.onnx")
    check_integers(best, torch.rand(200, 1, 8, 8), tmp_path / "network.onnx")
    assert bool((best.get_submodule("2").weight_quant(best.get_submodule("2").weight)[zeros] == 0).all())


def test_bits_beyond_the_budget_are_taken_from_each_layer_in_turn():
    network, x = digits_like()

    def total(quantized):
        return float(sum(part.bits for part in quantized.modules() if isinstance(part, IntQuant)))

    def searched_bits(budget, **options):
        result = search_bits(network, x[:4], lambda quantized: 0.0, cost=total, budget=budget, first_last_bits=None, method="minmax",
                             weight_bits=(2, 4), activation_bits=(2, 4), **options)
        return list(result.trials[-1].choice.values())

    # the first trial has the most that all can have alike; the second one's proposal of 20 bits is lowered by ever more
    assert searched_bits(31, trials=1) == [3] * 8
    proposal = searched_bits(100, trials=2)
    steps = [proposal]
    for turn in range(2):
        for place, most in enumerate(proposal):
            if most - 2 > turn:
                steps.append([*steps[-1][:place], steps[-1][place] - 1, *steps[-1][place + 1:]])
    assert len(steps) > 3
    for wanted in steps[1::3]:
        assert searched_bits(sum(wanted), trials=2) == wanted


def test_retraining_and_other_ways_to_compress():
    seen = []

    def retrain(network):
        seen.append(nonzeros(network))
        with torch.no_grad():
            for part in network.modules():
                if hasattr(part, "weight_orig"):
                    part.weight_orig += 1.0  # as an optimizer does, where the mask holds zeros

    result = searched(None, retrain=retrain)
    assert seen and all(nonzeros(result.build(one)) == one.cost for one in result.trials)

    def halved(network, choice):
        with torch.no_grad():
            for name, density in choice.items():
                layer = network.get_submodule(name)
                layer.weight[round(density * len(layer.weight)):] = 0  # whole outputs
        return network

    result = searched(None, compress=halved)
    rows = result.build(result.best)[2].weight.abs().sum(dim=1)
    assert int((rows > 0).sum()) == round(20 * result.best.choice["2"])


def test_pictures_are_drawn_alike_each_time():
    result = searched(None, trials=10)
    for kind, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert result.draw(kind).startswith(start)
    drawn = result.draw(cost="nonzero weights")
    assert b"nonzero weights" in drawn
    assert drawn == result.draw(cost="nonzero weights")
    with pytest.raises(CompressionError, match="not as gif"):
        result.draw("gif")


@pytest.mark.parametrize(("options", "message"), [
    ({"budget": 1}, "budget of 1 can't be met: with the least of everything the cost is 48"),
    ({"densities": (0.0, 1.0)}, "densities are above 0"),
    ({"densities": ()}, "densities are above 0"),
    ({"layers": ["first"]}, "no linear or convolutional layer `first`"),
    ({"trials": 0}, "1 trial or more, not 0"),
    ({"sampler": "grid"}, "one of tpe, nsga2, not 'grid'"),
    ({"seed": -1}, "whole number from 0 on, not -1"),
    ({"cost": lambda network: float("nan")}, "cost of a network in the search is nan"),
    ({"reward": lambda value, cost: math.inf}, "reward of a network in the search is inf"),
    ({"network": nn.Sequential(nn.ReLU())}, "no layers to prune"),
])
def test_mistakes_are_told(options, message):
    with pytest.raises(CompressionError, match=message):
        searched(None, **options)


def test_mistakes_of_bits_are_told():
    network, x = digits_like()
    for options, message in (({"weight_bits": (1, 8)}, r"weight_bits must be two whole numbers from 2 to 8.*not \(1, 8\)"),
                             ({"activation_bits": (6, 4)}, r"not \(6, 4\)"), ({"method": "best"}, "calibration method")):
        with pytest.raises((CompressionError, ValueError), match=message):
            search_bits(network, x, lambda quantized: 0.0, cost=lambda quantized: 0.0, **options)
    with pytest.raises(CompressionError, match="no bits to search"):
        search_bits(nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), x, lambda quantized: 0.0, cost=lambda quantized: 0.0)
    with pytest.raises(CompressionError, match=r"can't be quantized: .* \(CELU\)"):
        search_bits(nn.Sequential(nn.Conv2d(1, 3, 8), nn.CELU()), x, lambda quantized: 0.0, cost=lambda quantized: 0.0)
