"""`eie`: compressed layers on an array of processing elements.  Parameters and cycles: `hwsim.engines.eie.Eie`.

    i -> activation memories -> scan -> PEs (with their pointers and matrices) -> drain -> o
              ^                                                                     |
              +------------------------------- post <-------------------------------+

Here are the control, the read-only memories of the PEs, and the way from inner layers' sums to activations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from operator import getitem

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from hwsim.engines.eie import SETTLE_CYCLES, Eie
from hwsim.engines.elementwise import Clip, Elementwise, Lookup, Requant, Scale
from hwsim.engines.thresholding import Thresholding

from ..platform import VerilogPlatform, flat_ports
from .constants import Image, rom
from .eie_activations import EieActivations
from .eie_drain import EieDrain
from .eie_load import EieLoader
from .eie_pe import EiePe, address_bits, book_image
from .eie_scan import EieScan
from .elementwise import ClipBlock, LookupBlock, ScaleBlock
from .numbers import encoded, fit, lanes, number, recoded, selected
from .requant import RequantBlock
from .sequencer import register
from .stream_block import StreamBlock
from .thresholding import ThresholdingBlock

Int64 = NDArray[np.int64]
_POST = {Clip: ClipBlock, Lookup: LookupBlock, Requant: RequantBlock, Scale: ScaleBlock, Thresholding: ThresholdingBlock}


class EieBlock(StreamBlock[Eie]):
    """A sparse engine.

    Parameters
    ----------
    params : Eie
    pointers : int64 (pes, columns + 1)
        Where the columns of all layers begin among a PE's entries, one layer behind the other, and the last one's end.
    indices, codes : int64 (pes, entries)
        Each PE's entries, filled up with 0.
    codebooks : int64 (layers, 2**code_bits)
    stem : str
        Prefix of its memory files.
    post : constants of the blocks of `params.post`
        ``post0_multiplier`` is what the first one takes as `multiplier`.

    Members
    -------
    i : stream of lanes_in elements
    o : stream of lanes_out elements
    load : stream of the words of `images`, one after the other, where weights are loaded
    """

    def __init__(self, params: Eie, *, pointers: Int64, indices: Int64, codes: Int64, codebooks: Int64, stem: str,
                 **post: Int64) -> None:
        self.params = params
        self.pointers, self.indices, self.codes, self.codebooks, self.stem, self.post = \
            pointers, indices, codes, codebooks, stem, post
        self.posts = [self._post(n, engine) for n, engine in enumerate(params.post)]
        self.loader = EieLoader(self.images) if params.loaded else None
        super().__init__(params, **({"load": In(stream.Signature(unsigned(self.loader.bits)))} if self.loader else {}))

    @cached_property
    def images(self) -> list[Image]:
        """What every memory holds, in the order in which a host sends it."""
        p = self.params
        pes = range(p.pes)
        pointers = [Image(f"{name}{n}", tuple(int(one) for one in self.pointers[n, start::2]), p.position_bits)
                    for start, name in enumerate(("even", "odd")) for n in pes]
        matrices = [Image(f"matrix{n}", tuple(self._matrix(n)), p.matrix_memory.bits) for n in pes]
        post = [replace(image, name=f"post{n}_{image.name}") for n, block in enumerate(self.posts) for image in block.images]
        return [*pointers, *matrices, book_image(p, self.codebooks), *post]

    def elaborate(self, platform: object) -> Module:
        p = self.params
        m = Module()
        m.submodules.activations = activations = EieActivations(p)
        m.submodules.scan = scan = EieScan(p)
        m.submodules.drain = drain = EieDrain(p)
        layer, is_last, start = Signal(address_bits(p.layers)), Signal(), Signal()
        clears, drains, ends, finished = Signal(init=1), Signal(), Signal(), Signal()
        m.d.comb += [is_last.eq(layer == p.layers - 1), scan.layer.eq(layer), drain.layer.eq(layer), drain.is_last.eq(is_last),
                     activations.address.eq(scan.address), activations.enable.eq(scan.enable), scan.word.eq(activations.word),
                     scan.start.eq(start), activations.i.valid.eq(self.i.valid), activations.i.payload.eq(self.i.payload),
                     self.i.ready.eq(activations.i.ready)]
        m.d.comb += drain.clearing.eq(clears)
        loaded: Value = Const(1)
        if self.loader is not None:
            m.submodules.loader = self.loader
            m.d.comb += [self.loader.i.valid.eq(self.load.valid), self.loader.i.payload.eq(self.load.payload),
                         self.load.ready.eq(self.loader.i.ready)]
            loaded = self.loader.loaded
        idle = self._elements(m, platform, scan, drain, layer, clears | drains)

        written = self._feedback(m, platform, activations, drain, layer, is_last)
        advance = Signal()
        m.d.comb += advance.eq(~self.o.valid | self.o.ready)
        with m.If(advance):
            results = [encoded(number(one, p.sum_type), p.out_type) for one in lanes(drain.part, p.sum_type)]
            m.d.sync += self.o.valid.eq(drain.fires & is_last)
        m.d.comb += self.o.payload.eq(register(m, advance & drain.fires & is_last, Cat(results), "result"))

        m.d.sync += start.eq(activations.begin | activations.swap)
        m.d.comb += activations.open.eq(activations.begin if p.layers == 1 else activations.swap & (layer == p.layers - 2))
        with m.If(ends):
            m.d.sync += layer.eq(0)
        with m.Elif(activations.swap):
            m.d.sync += layer.eq(layer + 1)

        # The states, a register each.
        waits, scans = Signal(), Signal()
        settles = Signal(SETTLE_CYCLES - 1)  # bit n: n + 1 cycles after the end of a layer
        m.d.comb += [
            drain.fires.eq(drains & (advance | ~is_last)), ends.eq(drain.fires & drain.drained & is_last),
            activations.begin.eq(waits & activations.full & loaded), activations.swap.eq(written),
            finished.eq(scans & idle & ~start),
        ]
        m.d.sync += [
            clears.eq(clears & ~drain.cleared),
            waits.eq((clears & drain.cleared) | ends | (waits & ~activations.begin)),
            scans.eq(activations.begin | activations.swap | (scans & ~finished)),
            settles.eq(Cat(finished, settles)),
            drains.eq(settles[-1] | (drains & ~(drain.fires & drain.drained))),
        ]
        if self.loader is not None:
            m.d.comb += self.loader.open.eq(waits & ~activations.full)
        return m

    def _elements(self, m: Module, platform: object, scan: EieScan, drain: EieDrain, layer: Value, draining: Value) -> Value:
        """The PEs and their memories; whether nothing of the layer is left to do but for the entries in their pipelines."""
        p = self.params
        incoming, rooms, idle = Signal(), Signal(p.pes), Signal(p.pes)
        m.d.comb += scan.accept.eq(scan.valid & rooms.all())
        m.d.sync += incoming.eq(scan.accept)
        x, swapped = register(m, Const(1), scan.x, "incoming_x"), register(m, Const(1), scan.swapped, "incoming_swapped")
        width = p.sum_type.bits
        images = {image.name: image for image in self.images}
        book = self.loader.write("codebook") if self.loader is not None else None
        for n in range(p.pes):
            address = Signal(address_bits(p.depth), name=f"address{n}")
            even, odd = (self._rom(m, images[f"{name}{n}"], where, p.pointer_memories[start].style)
                         for name, start, where in (("even", 0, scan.even), ("odd", 1, scan.odd)))
            ports = {
                "incoming": incoming, "x": x, "even": even, "odd": odd, "swapped": swapped, "room": rooms[n], "idle": idle[n],
                "address": address, "word": self._rom(m, images[f"matrix{n}"], address, p.matrix_memory.style),
                "layer": layer, "draining": draining, "row": drain.row, "clear": drain.clear[n],
                "sum": drain.sums[n * width:(n + 1) * width],
            }
            if book is not None:
                ports |= {"load_enable": book.enable, "load_address": book.address, "load_data": book.data}
            m.submodules[f"pe{n}"] = self._part(m, platform, f"{self.stem}_pe", lambda: EiePe(p, self.codebooks, self.stem), ports)
        return scan.done & ~scan.valid & ~incoming & idle.all()

    @staticmethod
    def _part(m: Module, platform: object, name: str, make: Callable[[], wiring.Component], ports: dict[str, Value]) -> object:
        """A component with its ports connected; in Verilog, an instance of a module that is made once per name."""
        if isinstance(platform, VerilogPlatform):
            return platform.block(name, make, clocked=True, **ports)
        part = make()
        for port, (theirs, flow) in flat_ports(part).items():
            m.d.comb += theirs.eq(ports[port]) if flow is wiring.In else ports[port].eq(theirs)
        return part

    def _rom(self, m: Module, image: Image, address: Value, style: str) -> Value:
        load = None if self.loader is None else self.loader.write(image.name)
        return rom(m, image.name, self.stem, image.words, image.bits, address, Const(1), style, load)

    @property
    def _entry_bits(self) -> int:
        return self.params.index_bits + self.params.code_bits

    def _matrix(self, pe: int) -> list[int]:
        """Words of a PE's matrix memory, the first entry in the least significant bits, its index below its code."""
        p = self.params
        entries = [int(index) | int(code) << p.index_bits for index, code in zip(self.indices[pe], self.codes[pe], strict=True)]
        return [sum(entry << (n * self._entry_bits) for n, entry in enumerate(entries[at:at + p.read_entries]))
                for at in range(0, p.depth * p.read_entries, p.read_entries)]

    def _feedback(self, m: Module, platform: object, activations: EieActivations, drain: EieDrain, layer: Value,
                  is_last: Value) -> Value:
        """From drained words of inner layers to the activation memory; whether a layer's last one is written."""
        p = self.params
        if p.layers == 1:
            return Const(0)
        valid = Signal(name="drained")
        m.d.sync += valid.eq(drain.fires & ~is_last)
        used = p.post[0].pe if p.post else min(p.lanes, max(p.sizes[1:-1]))  # lanes that an inner layer fills
        word: Value = register(m, drain.fires & ~is_last, drain.word[:used * p.sum_type.bits], "drained_word")
        has: Value = valid
        kind = p.sum_type
        for n, engine in enumerate(p.post):
            result, done = Signal(engine.word_out.bits, name=f"post{n}_word"), Signal(name=f"post{n}_valid")
            ports = {"i_payload": Cat(recoded(one, kind, engine.x_type) for one in lanes(word, kind)), "i_valid": has,
                     "i_ready": Signal(name=f"post{n}_ready"), "o_payload": result, "o_valid": done, "o_ready": Const(1)}
            block, place = self.posts[n], platform
            if self.loader is not None:  # what loads it reaches into it, so it is no module of its own
                block.loads, place = {image.name: self.loader.write(f"post{n}_{image.name}") for image in block.images}, None
            m.submodules[f"post{n}"] = self._part(m, place, f"{self.stem}_post{n}", partial(getitem, self.posts, n), ports)
            word, has, kind = result, done, engine.out_type
        steps = [p.drain_words(inner) for inner in range(p.layers - 1)]
        position, last = Signal(range(max(steps))), Signal()
        m.d.comb += last.eq(position == selected(layer, [Const(count - 1, len(position)) for count in steps]))
        with m.If(has):
            m.d.sync += position.eq(Mux(last, 0, position + 1))
        # What a layer's last word does not fill is 0, whatever `post` makes of nothing.
        results = [fit(recoded(one, kind, p.x_type), p.x_type) for one in lanes(word, kind)]
        kept = [selected(layer, [Const(lane < (size % p.lanes or p.lanes), 1) for size in p.sizes[1:-1]])
                for lane in range(used)]
        m.d.comb += [activations.write.eq(has), activations.position.eq(position),
                     activations.results.eq(Cat(Mux(last & ~keep, 0, one) for one, keep in zip(results, kept, strict=True)))]
        return has & last

    def _post(self, n: int, engine: Elementwise) -> StreamBlock[Elementwise]:
        """The block of one engine of `post`, with its constants."""
        prefix = f"post{n}_"
        constants = {name.removeprefix(prefix): values for name, values in self.post.items() if name.startswith(prefix)}
        stem = {} if isinstance(engine, Clip) else {"stem": f"{self.stem}_post{n}"}
        return _POST[type(engine)](engine, **constants, **stem)
