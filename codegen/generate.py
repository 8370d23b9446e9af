"""A design as Verilog: its blocks, what they share, its memories and its AXI4-Stream top."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.lib import wiring

import hwsim
from hwsim.design import Design, Stage
from hwsim.engines import elementwise, join
from hwsim.engines.argmax import Argmax
from hwsim.engines.base import Engine
from hwsim.engines.eie import Eie
from hwsim.engines.fifo import StreamFifo
from hwsim.engines.fork import Fork
from hwsim.engines.linebuffer import LineBuffer
from hwsim.engines.mvu import Mvu
from hwsim.engines.permute import Permute
from hwsim.engines.pool import Pool
from hwsim.engines.thresholding import Thresholding
from hwsim.engines.topk import TopK
from hwsim.engines.unrolled import Unrolled
from hwsim.engines.vvu import Vvu
from hwsim.engines.width import Width
from hwsim.engines.window import Window

from . import control as controls
from .axi import AxiPort
from .blocks.argmax import ArgmaxBlock
from .blocks.eie import EieBlock
from .blocks.eie_load import beats
from .blocks.elementwise import ClipBlock, LookupBlock, ScaleBlock
from .blocks.fifo import FifoBlock
from .blocks.fork import ForkBlock
from .blocks.join import ArithmeticBlock, ConcatBlock
from .blocks.linebuffer import LineBufferBlock
from .blocks.mvu import MvuBlock
from .blocks.permute import PermuteBlock
from .blocks.pool import PoolBlock
from .blocks.requant import RequantBlock
from .blocks.stream_block import port_names
from .blocks.thresholding import ThresholdingBlock
from .blocks.topk import TopKBlock
from .blocks.unrolled import UnrolledBlock
from .blocks.vvu import VvuBlock
from .blocks.width import WidthBlock
from .blocks.window import WindowBlock
from .control import Control
from .errors import CodegenError
from .naming import top_identifier
from .platform import VerilogPlatform
from .registers import ADDRESS_BITS, LoadedMemory
from .templates import render
from .verilog import convert


@dataclass(frozen=True)
class WeightPort:
    """An AXI4-Stream input for an engine's weights.

    Parameters
    ----------
    name : str
        Prefix of its signals.
    stage, layer : str
        Whose weights.
    file : str
        In ``mem/``: what a host sends.
    bits : int
        Of a word.
    words : tuple of int
        One a beat.
    """

    name: str
    stage: str
    layer: str
    file: str
    bits: int
    words: tuple[int, ...]

    @property
    def data_bits(self) -> int:
        """Width of TDATA."""
        return -(-self.bits // 8) * 8

    @property
    def hexadecimal(self) -> list[str]:
        """The words as text."""
        return [f"{word:x}" for word in self.words]


@dataclass(frozen=True)
class Rtl:
    """Generated hardware.

    Parameters
    ----------
    top : str
        Name of the top module.
    verilog : file name -> text
    memories : file name -> text
        For ``$readmemh``.
    s_axis, m_axis : AxiPort
    weights : tuple of WeightPort
    control : Control or None
        Its control shell, if it has one.
    header : str
        What every file of it says: who made it from what, and whose it is.
    """

    top: str
    verilog: dict[str, str]
    memories: dict[str, str]
    s_axis: AxiPort
    m_axis: AxiPort
    weights: tuple[WeightPort, ...] = ()
    control: Control | None = None
    header: str = ""

    @property
    def files(self) -> dict[str, str]:
        """Verilog and memories where a bundle has them, from where tools read them: relative path -> text."""
        return {f"rtl/{name}": text for name, text in self.verilog.items()} \
            | {f"mem/{name}": text for name, text in self.memories.items()}


def generate(design: Design, design_hash: str) -> Rtl:
    """The Verilog of a design.

    Parameters
    ----------
    design : Design
    design_hash : str
        Written into every header.
    """
    top = top_identifier(design.graph.name)
    platform = VerilogPlatform()
    modules: dict[str, str] = {}
    blocks: dict[str, wiring.Component] = {}
    shared: dict[Engine, str] = {}
    for stage in design.stages:
        name = _module_name(top, stage)
        if not stage.constants:  # blocks of equal parameters are one module, called as the first of them
            name = shared.setdefault(stage.engine, name)
        modules[stage.name] = name
        if name not in blocks:
            blocks[name] = _component(stage, f"{top}_{stage.name}")
    texts = convert(blocks, platform)
    header = _header(design, design_hash)
    verilog = module_files(texts, platform, header, lambda name: _describe(design, modules, name))
    s_axis, m_axis = AxiPort(design.word_in, design.words_in), AxiPort(design.word_out, design.words_out)
    control = None
    if design.plan.control == "axi-lite":
        loaded = tuple(LoadedMemory(stage.name, image.name, len(image.words), image.bits) for stage in design.stages
                       if isinstance(stage.engine, Mvu) and stage.engine.reloadable for image in blocks[modules[stage.name]].images)
        control = controls.make_control(top, design_hash, s_axis, m_axis, loaded)
        verilog |= controls.verilog(control, controls.commented(header, "// "))
    names = [file.removesuffix(".v").lower() for file in [*verilog, f"{top}.v"]]
    if len(set(names)) != len(names):
        raise CodegenError(f"the network's name '{design.graph.name}' is the name of a block that it uses; rename the network")
    weights = weight_ports(design, top, blocks, modules)
    verilog[f"{top}.v"] = _top(design, top, header, modules, s_axis, m_axis, weights, control)
    memories = {f"{stem}.mem": _mem(width, words) for stem, (width, words) in platform.memories.items()}
    memories |= {port.file: _mem(port.bits, list(port.words)) for port in weights}
    return Rtl(top, dict(sorted(verilog.items())), dict(sorted(memories.items())), s_axis, m_axis, weights, control, header)


def module_files(texts: Mapping[str, str], platform: VerilogPlatform, header: str,
                 describe: Callable[[str], str]) -> dict[str, str]:
    """One file a module, with its header: those that were converted, the cells and the memories that they use.

    Parameters
    ----------
    texts : module name -> Verilog
        As `verilog.convert` gives them.
    header : str
        Lines for every file.
    describe : callable
        What a module is, of its name.
    """
    said = controls.commented(header, "// ")
    verilog = {f"{name}.v": f"// {name} - {describe(name)}\n//\n{said}\n`default_nettype none\n\n{text}\n"
                            "`default_nettype wire\n" for name, text in texts.items()}
    verilog |= {f"{name}.v": text for name, text in platform.cells.items()}
    for helper in ("bw_rom", "bw_ram", "bw_ram_async", "bw_table", "bw_add"):
        if any(f"  {helper} #(" in text for text in (*texts.values(), *platform.cells.values())):
            verilog[f"{helper}.v"] = render(f"{helper}.v.j2", header=said)
    return verilog


def weight_ports(design: Design, top: str, blocks: Mapping[str, wiring.Component],
                 modules: Mapping[str, str]) -> tuple[WeightPort, ...]:
    """The ports through which engines' weights come, one for each engine that wants it."""
    stages = [stage for stage in design.stages if isinstance(stage.engine, Eie) and stage.engine.loaded]
    ports = []
    for number, stage in enumerate(stages):
        block = blocks[modules[stage.name]]
        assert isinstance(block, EieBlock)
        ports.append(WeightPort(f"s_axis_weights{number if len(stages) > 1 else ''}", stage.name, stage.layer,
                                f"{top}_{stage.name}_weights.mem", max(image.bits for image in block.images),
                                tuple(beats(block.images))))
    return tuple(ports)


def _module_name(top: str, stage: Stage) -> str:
    """Queues and converters are named by their size, so that designs share them, too; others by their stage."""
    engine = stage.engine
    if isinstance(engine, StreamFifo):
        return f"bw_fifo_{engine.word_in.bits}x{engine.depth}"
    if isinstance(engine, Width):
        return f"bw_width_{engine.word_in.bits}_{engine.word_out.bits}"
    return f"{top}_{stage.name}"


#: Engine -> its block, and whether the block has memories, whose files want a name.
BLOCKS: dict[type[Engine], tuple[Callable[..., wiring.Component], bool]] = {
    Argmax: (ArgmaxBlock, False),
    join.Arithmetic: (ArithmeticBlock, False),
    join.Concat: (ConcatBlock, False),
    Permute: (PermuteBlock, False),
    Vvu: (VvuBlock, True),
    elementwise.Clip: (ClipBlock, False),
    elementwise.Lookup: (LookupBlock, True),
    elementwise.Requant: (RequantBlock, True),
    elementwise.Scale: (ScaleBlock, True),
    Eie: (EieBlock, True),
    LineBuffer: (LineBufferBlock, False),
    Mvu: (MvuBlock, True),
    Fork: (ForkBlock, False),
    Pool: (PoolBlock, False),
    StreamFifo: (FifoBlock, False),
    Thresholding: (ThresholdingBlock, True),
    TopK: (TopKBlock, False),
    Unrolled: (UnrolledBlock, True),
    Width: (WidthBlock, False),
    Window: (WindowBlock, False),
}


def _component(stage: Stage, stem: str) -> wiring.Component:
    if type(stage.engine) not in BLOCKS:
        raise CodegenError(f"stage '{stage.name}': no block for the engine '{stage.engine.kind}'; engines and blocks come in pairs")
    block, has_memories = BLOCKS[type(stage.engine)]
    return block(stage.engine, **stage.constants, **({"stem": stem} if has_memories else {}))


def _header(design: Design, design_hash: str) -> str:
    """What every generated file begins with."""
    return (f"Generated by bitwright {hwsim.__version__} from the network '{design.graph.name}', design {design_hash}.\n"
            "This file belongs to whoever generated it; bitwright claims no rights in its output.")


def _describe(design: Design, modules: dict[str, str], name: str) -> str:
    stage = next((stage for stage in design.stages if modules[stage.name] == name), None)
    return "part shared by blocks of this design" if stage is None else describe(stage)


def describe(stage: Stage) -> str:
    """One line about a block, for headers and tables."""
    engine = stage.engine
    if isinstance(engine, Mvu):
        after = f", {engine.thresholds} threshold{'s' if engine.thresholds > 1 else ''} an output" if engine.thresholds else ""
        matrix = f"{engine.inputs} x {engine.outputs}" + (f" in {engine.groups} groups" if engine.groups > 1 else "")
        return (f"matrix-vector unit, {matrix}, pe {engine.pe}, simd {engine.simd}, "
                f"{engine.arithmetic}, {engine.accumulator_bits}-bit accumulators{after}")
    if isinstance(engine, Eie):
        return (f"sparse engine, {engine.pes} processing elements, layers of {' to '.join(map(str, engine.sizes))}, "
                f"{engine.index_bits}-bit indices, {engine.code_bits}-bit codes, {engine.sum_type.bits}-bit accumulators")
    if isinstance(engine, LineBuffer):
        return f"line buffer, {engine.kernel[0]} x {engine.kernel[1]} taps of {engine.lanes} channels at a time"
    if isinstance(engine, Unrolled):
        return (f"matrix-vector unit with its weights built in, {engine.inputs} x {engine.outputs}, {engine.graph.adders} adders, "
                f"{len(engine.graph.nodes) - engine.graph.adders} counters")
    if isinstance(engine, Thresholding):
        return f"thresholding, {engine.pe} elements at a time, {engine.x_type} to {engine.out_type}"
    if isinstance(engine, Width):
        return f"stream width converter, {engine.lanes_in} to {engine.lanes_out} elements of {engine.type}"
    if isinstance(engine, Argmax):
        return f"argmax over {engine.channels} channels, {engine.pe} at a time"
    return f"queue of {engine.depth} words of {engine.word_in.bits} bits" if isinstance(engine, StreamFifo) else engine.kind


def _mem(width: int, words: list[int]) -> str:
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in words)


def _top(design: Design, top: str, header: str, modules: dict[str, str], s_axis: AxiPort, m_axis: AxiPort,
         weights: tuple[WeightPort, ...], control: Control | None) -> str:
    words = design.streams
    streams = [{"name": f"s{n}", "bits": word.bits, "pad": len(f"[{word.bits - 1}:0]") - 1} for n, word in enumerate(words)]
    last = f"s{design.last_stream}"
    ii, latency = design.rate()
    used, size, bits = s_axis.word.type.bits, s_axis.element_bits, s_axis.data_bits
    unpack = [{"target": f"s0_data[{lane * used + used - 1}:{lane * used}]",
               "source": f"s_axis_tdata[{lane * size + used - 1}:{lane * size}]"} for lane in range(s_axis.word.lanes)]
    if used == size:
        unpack = [{"target": "s0_data", "source": f"s_axis_tdata[{words[0].bits - 1}:0]"}]
    gaps = [f"s_axis_tdata[{lane * size + size - 1}:{lane * size + used}]" for lane in range(s_axis.word.lanes) if used < size]
    if bits > s_axis.word.lanes * size:
        gaps.append(f"s_axis_tdata[{bits - 1}:{s_axis.word.lanes * size}]")
    return render(
        "top.v.j2", top=top, header=header, s=s_axis, m=m_axis, streams=streams, unpack=unpack, unused_bits=gaps,
        last=last, pack=pack(f"{last}_data", m_axis), beat_bits=max(1, (m_axis.beats - 1).bit_length()),
        summary="dataflow accelerator with AXI4-Stream in and out", control=control, address_bits=ADDRESS_BITS, bus=controls.BUS,
        quantization=", ".join(dict.fromkeys(
            f"{stage.engine.w_type} weights x {stage.engine.x_type} activations"
            for stage in design.stages if isinstance(stage.engine, (Mvu, Unrolled, Eie)))) or "none",
        ii_cycles=ii, latency_cycles=latency, depends_on_data=design.depends_on_data, weights=weights,
        blocks=[{"module": modules[stage.name], "name": stage.name, "comment": f"{describe(stage)} (layer {stage.layer})",
                 "ports": (ports := _ports(stage)), "weights": [port for port in weights if port.stage == stage.name],
                 **_load_ports(control, stage),
                 "indent": len(ports[0]["name"]) + len("_payload") - len("clk")}
                for stage in design.stages])


def _load_ports(control: Control | None, stage: Stage) -> dict[str, Any]:
    """How a block's memories are written, if software can."""
    if control is None or not (memories := control.memories_of(stage.name)):
        return {"memories": []}
    own = [one for one in control.memories if one.stage == stage.name]
    return {"memories": memories, "load_address_bits": max(one.address_bits for one in own),
            "load_bits": max(one.bits for one in own)}


def _ports(stage: Stage) -> list[dict[str, str]]:
    """A block's ports and the streams at them."""
    return [{"name": name, "stream": f"s{stream}"} for stem, streams in (("i", stage.wires.inputs), ("o", stage.wires.outputs))
            for name, stream in zip(port_names(stem, len(streams)), streams, strict=True)]


def pack(signal: str, port: AxiPort) -> str:
    """The Verilog expression that spreads a word's elements over TDATA."""
    used, size, lanes = port.word.type.bits, port.element_bits, port.word.lanes
    padding = port.data_bits - lanes * size
    if used == size:
        return signal if not padding else f"{{{padding}'d0, {signal}}}"
    parts = [f"{padding}'d0"] if padding else []
    for lane in reversed(range(lanes)):
        high = lane * used + used - 1
        fill = f"{{{size - used}{{{signal}[{high}]}}}}" if port.word.type.signed else f"{size - used}'d0"
        parts.append(f"{fill}, {signal}[{high}:{lane * used}]")
    return "{" + ", ".join(parts) + "}"
