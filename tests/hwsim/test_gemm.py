"""Command lists of arrays, executed word by word in numpy; what is refused; the machine of the same array."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.engines.gemm import Gemm, GemmError
from hwsim.engines.gemm_commands import Command, Tiling, fills, tile
from hwsim.engines.gemm_cycles import simulate
from hwsim.engines.gemm_machine import machine_of, workload_of
from intir import BIPOLAR, TERNARY, IntType, signed, unsigned

TYPES = [(signed(8), signed(8)), (unsigned(8), signed(8)), (BIPOLAR, BIPOLAR), (TERNARY, signed(3)), (unsigned(2), BIPOLAR)]


def execute(gemm: Gemm, commands: list[Command], beats: np.ndarray) -> list[np.ndarray]:
    """What the commands say, literally: rows of sums."""
    def elements(beat: np.ndarray, word) -> np.ndarray:  # type: ignore[no-untyped-def]
        bits = int.from_bytes(beat.tobytes(), "little")
        codes = [(bits >> (n * word.type.bits)) & ((1 << word.type.bits) - 1) for n in range(word.lanes)]
        return word.type.decode(np.array(codes, np.int64)).reshape(-1, gemm.lanes)

    stream = iter(beats)
    x: list[np.ndarray] = []
    w: list[np.ndarray] = []
    sums = np.zeros((gemm.rows, gemm.columns), np.int64)
    rows = []
    for one in commands:
        assert Command(**dataclasses.asdict(one)).encode(gemm) < 1 << gemm.command_bits
        if one.load_x:
            x = [elements(next(stream), gemm.x_word) for _ in range(one.load_x)]
        if one.load_w:
            w = [elements(next(stream), gemm.w_word) for _ in range(one.load_w)]
        if not one.keeps:
            sums = np.zeros_like(sums)
        for n in range(one.words):
            a, b = x[one.x_at + n], w[one.w_at + n]
            sums = sums + ((a[:, None] == b[None]).sum(-1) if gemm.is_binary else a @ b.T)
        rows += list((2 * sums - one.terms if gemm.is_binary else sums)[:one.rows])
    assert next(stream, None) is None
    return rows


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_list_computes_the_product(data: st.DataObject) -> None:
    def size(most: int) -> int:
        return data.draw(st.integers(1, most))

    gemm = Gemm(size(4), size(4), size(5), *data.draw(st.sampled_from(TYPES)), 28, depth=1 << size(5))
    m, k, n = size(13), size(3 * gemm.depth * gemm.lanes), size(13)
    one = tile(gemm, m, k, n, data.draw(st.sampled_from([None, "x", "w"])))
    rng = np.random.default_rng(size(1000))
    x, w = (rng.integers(0, kind.levels, shape) * kind.step + kind.lo for kind, shape in ((gemm.x_type, (m, k)), (gemm.w_type, (k, n))))
    commands = one.commands()
    rows = np.array(execute(gemm, commands, one.beats(x, w)))
    assert one.result(rows).tolist() == (x @ w).tolist()
    assert rows.tolist() == one.rows(x, w).tolist()
    assert [command.ends for command in commands] == [False] * (len(commands) - 1) + [True]
    trace = simulate(gemm, commands)
    assert len(trace.in_cycles) == sum(command.load_x + command.load_w for command in commands)
    assert trace.array_cycles == one.words * one.tiles[0] * one.tiles[1] <= trace.cycles
    assert (np.diff(trace.in_cycles) > 0).all()
    assert (np.diff(trace.out_cycles) > 0).all()


def test_long_sums_begin_with_the_part_that_is_there() -> None:
    gemm = Gemm(2, 2, 1, signed(8), signed(8), depth=8)
    loads = [(one.load_x, one.load_w, one.words, one.keeps, one.rows) for one in tile(gemm, 2, 20, 4).commands()]
    assert loads == [(8, 8, 8, False, 0), (8, 8, 8, True, 0), (4, 4, 4, True, 2),
                     (0, 4, 4, False, 0), (8, 8, 8, True, 0), (8, 8, 8, True, 2)]


def test_fillings_add_nothing() -> None:
    for types in TYPES:
        gemm = Gemm(1, 1, 4, *types)
        a, b = fills(gemm)
        assert a != b if gemm.is_binary else a * b == 0
        assert gemm.x_type.holds(np.array([a]))
        assert gemm.w_type.holds(np.array([b]))


INT8 = (signed(8), signed(8))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Gemm(0, 1, 1, *INT8), "an array with rows 0; give 1 to 256"),
    (lambda: Gemm(1, 1, 1, *INT8, depth=12), "tile memories of 12 words a half; give a power of two from 2 on"),
    (lambda: Gemm(1, 1, 1, *INT8, commands=1), "a queue of 1 command; give 2 or more"),
    (lambda: Gemm(1, 1, 1, *INT8, family="asic"), "unknown family 'asic'; choose one of xilinx, ecp5, generic"),
    (lambda: Gemm(1, 1, 1, BIPOLAR, IntType(1, 3)), "activations bipolar and weights [1, 3]: neither has a 0 to fill up sums with; make one of "
                                                    "them a type with 0, or both bipolar"),
    (lambda: tile(Gemm(2, 2, 1, *INT8, 16), 2, 3, 2), "sums of 3 products of s8 and s8 may not fit 16 bits; make sum_bits greater"),
    (lambda: tile(Gemm(2, 2, 1, *INT8), 2, 0, 2), "a product of (2, 0) and (0, 2); sizes are 1 or more"),
    (lambda: tile(Gemm(2, 2, 1, *INT8, depth=8), 9, 3, 2, x_tiles=3),
     "3 tiles of 3 words in a block; half a memory has 8 words, room for 2"),
    (lambda: tile(Gemm(2, 2, 1, *INT8), 2, 2, 2, "y"), "unknown order 'y'; choose x or w"),
    (lambda: Command(0, 0, 6, 0, 4, 1).encode(Gemm(2, 2, 1, *INT8, depth=8)),
     "a command loads 0 and 0 words and reads 4 from 6 and 0 on; half a memory has 8, and a command reads 1 or more"),
    (lambda: Command(0, 0, 0, 0, 1, 3).encode(Gemm(2, 2, 1, *INT8, depth=8)), "a command drains 3 rows; the array has 2"),
    (lambda: Command(16, 0, 0, 0, 1, 1).encode(Gemm(2, 2, 1, *INT8, depth=8)), "a command with load_x 16; the field has 4 bits"),
])
def test_what_is_refused(make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GemmError) as caught:
        make()
    assert str(caught.value) == said


def test_other_operands_are_refused() -> None:
    one = tile(Gemm(2, 2, 1, unsigned(8), signed(8)), 2, 3, 2)
    with pytest.raises(GemmError, match=r"^X has the shape \(2, 3\) and values from -1 to 0; the product wants \(2, 3\) of u8$"):
        one.beats(np.array([[0, 0, -1], [0, 0, 0]]), np.zeros((3, 2), np.int64))


def tilings(gemm: Gemm) -> dict[str, Tiling]:
    """Layers of LeNet-5 (16 frames), ResNet-8 and ResNet-18."""
    shapes = {"lenet conv1": (12544, 25, 6), "lenet conv2": (1600, 150, 16), "resnet8": (1024, 144, 16), "resnet18 conv2_x": (3136, 576, 64),
              "resnet18 conv3_x": (784, 1152, 128), "resnet18 conv4_x": (196, 2304, 256)}
    return {name: tile(gemm, *shape) for name, shape in shapes.items()}


def test_the_approximate_model_is_within_2_percent() -> None:
    from hwsim.systems.run import simulate as approximate
    gemm = Gemm(16, 16, 1, unsigned(8), signed(8), depth=8192, commands=32)
    made = tilings(gemm)
    report = approximate(workload_of("layers", made), machine_of(gemm))
    for layer in report.layers:
        assert abs(layer.cycles / simulate(gemm, made[layer.name].commands()).cycles - 1) < 0.02, layer.name


@pytest.mark.parametrize("gemm", [
    Gemm(16, 16, 1, unsigned(8), signed(8), depth=8192, commands=32), Gemm(8, 8, 1, unsigned(8), signed(8), depth=4096, commands=32),
    Gemm(16, 16, 32, BIPOLAR, BIPOLAR, depth=256, commands=32),
], ids=["int8 16x16", "int8 8x8", "xnor 16x16x32"])
@pytest.mark.parametrize("shape", [(1, 64, 10), (1, 400, 120), (1, 4096, 1000), (16, 120, 84), (16, 84, 10), (8, 256, 512), (8, 512, 10),
                                   (10, 784, 300), (7, 100, 33)])
def test_so_is_it_for_dense_layers_on_few_rows(gemm: Gemm, shape: tuple[int, int, int]) -> None:
    """Words that are not full, tiles that leave rows empty, and layers that are little more than their pipeline."""
    from hwsim.systems.run import simulate as approximate
    made = tile(gemm, *shape)
    exact = simulate(gemm, made.commands()).cycles
    found = approximate(workload_of("dense", {"dense": made}), machine_of(gemm)).layers[0].cycles
    assert abs(found - exact) <= max(0.02 * exact, 10), (found, exact)


def test_without_stalls_a_tile_takes_its_words_or_its_rows() -> None:
    gemm = Gemm(16, 16, 1, *INT8, depth=1024, commands=32)
    for words in (3, 16, 17, 100):
        cycles = [simulate(gemm, tile(gemm, 16 * tiles, words, 16).commands()).cycles for tiles in (20, 30)]
        assert cycles[1] - cycles[0] == 10 * max(words, 16)
