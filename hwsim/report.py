"""What the simulator says of a design: cycles, throughput, traffic, per layer and in all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataflow import SimulationError
from .design import Design, Stage
from .engines.eie import Eie
from .engines.fifo import StreamFifo
from .engines.mvu import Mvu
from .engines.unrolled import Unrolled
from .history import BINS, History, history_of
from .schedule import Buffer, Schedule, Task
from .sparsereport import ProductReport, sparse_products


@dataclass(frozen=True)
class BlockReport:
    """One block, for one frame unless said otherwise.

    Parameters
    ----------
    name, engine, layer : str
    pe, simd, fifo_depth : int or None
        Folding, where the block has one; depth, where it is a queue.
    cycles : int
        Least clock cycles per frame.
    utilisation : float
        Share of the design's initiation interval in which it works.
    starved_cycles, blocked_cycles : int
        Over the whole simulation: waiting for input; waiting for its output to be taken.
    operations : int
        Multiply-accumulates (binary: XNOR and count), or comparisons of an argmax.
    accumulator_bits : int or None
    weight_bytes, threshold_bytes : int
        Stored in the block.
    stream_in_bytes, stream_out_bytes, weight_read_bytes, threshold_read_bytes, buffer_read_bytes, buffer_write_bytes : float
        Moved.
    luts, brams, dsps : int
        Estimates; a block RAM has 18 kbit.
    """

    name: str
    engine: str
    layer: str
    pe: int | None
    simd: int | None
    fifo_depth: int | None
    cycles: int
    utilisation: float
    starved_cycles: int
    blocked_cycles: int
    operations: int
    accumulator_bits: int | None
    weight_bytes: float
    threshold_bytes: float
    stream_in_bytes: float
    stream_out_bytes: float
    weight_read_bytes: float
    threshold_read_bytes: float
    buffer_read_bytes: float
    buffer_write_bytes: float
    luts: int
    brams: int
    dsps: int


@dataclass(frozen=True)
class SimulationReport:
    """A design without stalls at its ports.

    Parameters
    ----------
    network, family : str
    clock_mhz : float
    frames : int
        Simulated.
    initiation_interval_cycles : int
        Cycles from one frame's result to the next, once settled; the mean, rounded up, where it depends on data.
    first_output_latency_cycles : int
        Cycles from the first input transfer to the first output transfer.
    total_cycles : int
        From the first input transfer up to and with the last output transfer.
    frames_per_second : float
        ``clock / initiation interval``.
    latency_us : float
        First-output latency in time.
    sum_of_layers_cycles : int
        What the latency would be if each layer waited for the whole result of the one before.
    blocks : tuple of BlockReport
    totals : dict
        Sums over the blocks of everything that adds up.
    input_bytes, output_bytes : float
        Per frame at the ports, without padding.
    sparse : tuple of ProductReport
        What happens inside sparse engines, product by product.
    history : History or None
        What blocks did over time, where that was asked for; too much for JSON.
    """

    network: str
    family: str
    clock_mhz: float
    frames: int
    initiation_interval_cycles: int
    first_output_latency_cycles: int
    total_cycles: int
    frames_per_second: float
    latency_us: float
    sum_of_layers_cycles: int
    input_bytes: float
    output_bytes: float
    totals: dict[str, float]
    blocks: tuple[BlockReport, ...]
    sparse: tuple[ProductReport, ...] = ()
    history: History | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        made = dataclasses.asdict(dataclasses.replace(self, history=None))
        del made["history"]
        return made


DEFAULT_FRAMES = 5
#: What adds up over blocks.
SUMMED = ("operations", "weight_bytes", "threshold_bytes", "weight_read_bytes", "threshold_read_bytes", "buffer_read_bytes",
          "buffer_write_bytes", "stream_in_bytes", "stream_out_bytes", "luts", "brams", "dsps")


def simulate_report(design: Design, frames: int | None = None, x: NDArray[np.int64] | None = None, *,
                    history: bool = False) -> SimulationReport:
    """Simulate `frames` frames back to back and account for what moved.

    Parameters
    ----------
    design : Design
    frames : int, optional
        At least 1; by default those of `x`, or 5.
    x : int64 (F, *input shape), optional
        Frames, repeated, for a design whose cycles depend on them.
    history : bool
        Whether the report also has what blocks did over time.

    Raises
    ------
    SimulationError
        If `frames` is below 1, or `x` holds none.
    """
    if x is not None and not len(x):
        raise SimulationError("the input holds 0 frames; give 1 or more")
    if frames is None:
        frames = DEFAULT_FRAMES if x is None else len(x)
    if frames < 1:
        raise SimulationError(f"{frames} frames to simulate; give 1 or more")
    x = x if x is None else x[:frames]
    follows_data = x is not None and design.depends_on_data
    fed = design if x is None else design.with_frames(x)
    trace = fed.simulate(frames, bins=BINS if history else 1)
    ii, latency = design.mean_rate(trace) if follows_data else design.rate()
    # The mean interval leaves the first frame out, which may take longer than all others; a share of the whole run does not.
    span = max(ii, -(-trace.total_cycles // frames)) if follows_data else ii
    sparse = sparse_products(design, x)
    family = design.plan.family
    blocks = tuple(_block(stage, family, span, int(starved), int(blocked), [one for one in sparse if one.layer == stage.layer])
                   for stage, starved, blocked in zip(fed.stages, trace.starved, trace.blocked, strict=True))
    return SimulationReport(
        network=design.graph.name, family=design.plan.family, clock_mhz=design.plan.clock_mhz, frames=frames,
        initiation_interval_cycles=ii, first_output_latency_cycles=latency,
        total_cycles=int(trace.out_cycles[-1] - trace.in_cycles[0]) + 1,
        frames_per_second=design.plan.clock_mhz * 1e6 / ii, latency_us=latency / design.plan.clock_mhz,
        sum_of_layers_cycles=sum(stage.cycles_per_frame for stage in design.stages
                                 if isinstance(stage.engine, (Mvu, Unrolled, Eie))),
        input_bytes=design.words_in * design.word_in.bits / 8,
        output_bytes=design.words_out * design.word_out.bits / 8,
        totals={key: sum(getattr(block, key) for block in blocks) for key in SUMMED}, blocks=blocks, sparse=sparse,
        history=history_of(fed.stages, trace, design.words_in, design.words_out) if history else None)


def _block(stage: Stage, family: str, span: int, starved: int, blocked: int, sparse: Sequence[ProductReport]) -> BlockReport:
    """The report of a block; `span` are the cycles that a frame has."""
    engine, rounds, timing = stage.engine, stage.rounds, stage.timing
    actions = engine.actions
    bits_in, bits_out = _stream_bits(stage)
    cycles = stage.cycles_per_frame if not isinstance(timing, Task) else round(rounds * timing.mean_period_cycles)
    made = BlockReport(
        name=stage.name, engine=engine.kind, layer=stage.layer, pe=getattr(engine, "pe", None),
        simd=getattr(engine, "simd", None), fifo_depth=engine.depth if isinstance(engine, StreamFifo) else None, cycles=cycles,
        utilisation=min(1.0, cycles / span), starved_cycles=starved, blocked_cycles=blocked,
        operations=rounds * actions.operations, accumulator_bits=getattr(engine, "accumulator_bits", None),
        weight_bytes=getattr(engine, "weight_bits", 0) / 8,
        threshold_bytes=(engine.memory_bits - getattr(engine, "weight_bits", 0)) / 8,
        stream_in_bytes=bits_in / 8, stream_out_bytes=bits_out / 8,
        weight_read_bytes=rounds * actions.weight_bits_read / 8, threshold_read_bytes=rounds * actions.threshold_bits_read / 8,
        buffer_read_bytes=rounds * actions.buffer_bits_read / 8, buffer_write_bytes=rounds * actions.buffer_bits_written / 8,
        **dataclasses.asdict(engine.resources(family)))
    if not isinstance(engine, Eie):
        return made
    # What depends on data; means over the frames.
    word_bits = engine.read_entries * (engine.index_bits + engine.code_bits)
    read = sum(one.word_reads * word_bits + one.pointer_reads * engine.position_bits for one in sparse)
    return dataclasses.replace(
        made, pe=engine.pes, simd=engine.lanes, accumulator_bits=engine.sum_type.bits,
        operations=round(rounds * sum(one.ideal_cycles * one.pes - one.padding_worked for one in sparse)),
        weight_bytes=sum(one.stored_bits for one in sparse) / 8, weight_read_bytes=rounds * read / 8)


def _stream_bits(stage: Stage) -> tuple[int, int]:
    """Bits per frame over all streams that a block reads, and over all that it makes."""
    engine, timing = stage.engine, stage.timing
    if isinstance(timing, Task):
        return stage.rounds * timing.words_in * engine.word_in.bits, stage.rounds * timing.words_out * engine.word_out.bits
    if not isinstance(timing, (Schedule, Buffer)):
        words = stage.rounds
        return words * engine.word_in.bits, words * engine.word_out.bits * len(stage.wires.outputs)
    needs = timing.needs.reshape(len(timing.needs), -1).sum(axis=0) if isinstance(timing, Schedule) else [timing.words_in]
    bits = sum(int(words) * word.bits for words, word in zip(needs, engine.words_in, strict=True))
    return stage.rounds * bits, stage.rounds * timing.words_out * engine.word_out.bits
