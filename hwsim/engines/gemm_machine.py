"""A `gemm` as a machine of `hwsim.systems`: what the approximate model makes of the same array."""

from __future__ import annotations

from ..systems.machine import Array, Dram, Machine, Sram
from ..systems.work import Product, Tensor, Work, Workload
from .gemm import Gemm
from .gemm_commands import Tiling

#: Of a word, from its transfer to the tile memory's output, and from the last element's sum to its transfer.
PIPELINE_CYCLES = 10


def machine_of(gemm: Gemm, *, clock_mhz: float = 100.0, gb_per_s: float | None = None) -> Machine:
    """The machine.

    Parameters
    ----------
    gemm : Gemm
    clock_mhz : float
    gb_per_s : float, optional
        Of the memory that words of tiles come from; by default one word a cycle.  A queue of transfers hides its latency;
        sums leave over a port of their own.
    """
    word_bytes = gemm.word_in.bits / 8
    binary = gemm.is_binary
    array = Array("popcount" if binary else "systolic", gemm.rows, gemm.columns, "output_stationary", gemm.lanes,
                  "binary" if binary else "integer", gemm.x_type.bits, gemm.w_type.bits, gemm.sum_bits, overlapped=True, eager=True,
                  padded=True, pipeline_cycles=PIPELINE_CYCLES)
    x, w = (Sram(name, memory.depth * memory.bits // 8, memory.bits, 1, (name,)) for name, memory in
            zip(("activations", "weights"), gemm.tile_memories, strict=True))
    sums = Sram("sums", -(-2 * gemm.rows * gemm.word_out.bits // 8), gemm.word_out.bits, 1, ("sums",))
    rate = word_bytes * clock_mhz / 1e3 if gb_per_s is None else min(gb_per_s, word_bytes * clock_mhz / 1e3)
    return Machine(
        f"gemm_{gemm.rows}x{gemm.columns}x{gemm.lanes}",
        f"{gemm.rows} x {gemm.columns} elements of {gemm.lanes} products, {gemm.x_type} x {gemm.w_type}", "docs/blocks/gemm.md",
        28, clock_mhz, array, (x, w, sums), Dram("DDR3", rate, latency_ns=0.0, burst_bytes=1), algorithms=("im2col",))


def workload_of(name: str, tilings: dict[str, Tiling]) -> Workload:
    """Products of matrices as a workload; their sums leave over a port of their own, so no DRAM traffic is made of them.

    Parameters
    ----------
    name : str
    tilings : layer's name -> Tiling
    """
    works = []
    for layer, one in tilings.items():
        gemm = one.gemm
        works.append(Work(layer, "product", ("",), (Tensor(one.m * one.k, gemm.x_type),), Tensor(0, gemm.sum_type),
                          Product(one.m, one.k, one.n), Tensor(one.k * one.n, gemm.w_type), gemm.sum_type))
    return Workload(name, tuple(works), works[0].reads[0])
