"""What `shell_bench` drives the control shell with: its bus, its streams, and both drivers over them.

The harness (`shell_simulation.harness`) has two copies of the design: ``manual`` with AUTO_START = 0, ``eager`` as it comes.
"""

import ctypes
import importlib.util
import itertools
import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, FallingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

CASE = json.loads(Path(os.environ["BENCH_VECTORS"]).read_text())
RESULTS = Path(os.environ["BENCH_RESULTS"])
VECTORS, REGISTERS = CASE["vectors"], CASE["registers"]
#: Shape of what is sent and expected.
FRAMES, BEATS_IN, BEATS_OUT = VECTORS["frames"], CASE["beats_in"], CASE["beats_out"]
OFFSET = {one["name"]: one["offset"] for one in REGISTERS}
DONE, FRAME, INPUT_ERROR = 1, 2, 4

_spec = importlib.util.spec_from_file_location("driver", CASE["driver"])
driver = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(driver)


class CDevice:
    """The C driver, with the calls of the Python one."""

    def __init__(self, read32, write32):
        top, words = CASE["top"], (ctypes.c_uint32, ctypes.c_uint32)
        # Kept here: C holds no reference to them.
        self._calls = (ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, words[0])(lambda context, offset: read32(offset)),
                       ctypes.CFUNCTYPE(None, ctypes.c_void_p, *words)(lambda context, offset, value: write32(offset, value)))
        library = ctypes.CDLL(CASE["library"])

        class Struct(ctypes.Structure):
            _fields_ = [("read32", type(self._calls[0])), ("write32", type(self._calls[1])), ("context", ctypes.c_void_p)]

        class Counters(ctypes.Structure):
            _fields_ = [(name, ctypes.c_uint64 if name == "cycles" else ctypes.c_uint32) for name in driver.COUNTERS]

        behind = getattr(library, f"{top}_behind")
        behind.restype = Struct
        self._device = behind(*self._calls, None)
        self._library, self._top, self._counters = library, top, Counters

    def __getattr__(self, name):
        function = getattr(self._library, f"{self._top}_{name}")
        function.restype = {"counters": self._counters, "design_hash": ctypes.c_uint64,
                            "take_interrupts": ctypes.c_uint32}.get(name, ctypes.c_int)

        def call(*arguments):
            found = function(ctypes.byref(self._device), *map(ctypes.c_uint32, arguments))
            if isinstance(found, ctypes.Structure):
                return {field: getattr(found, field) for field, _ in found._fields_}
            if name in ("check", "start", "wait") and found:
                raise driver.DeviceError(found)
            return found

        return call

    def wait(self):
        return self.__getattr__("wait")(10_000)

    def load_memory_parts(self, number, parts):
        function = getattr(self._library, f"{self._top}_load_memory")
        return function(ctypes.byref(self._device), ctypes.c_uint32(number), (ctypes.c_uint32 * len(parts))(*parts), ctypes.c_uint32(len(parts)))


class TB:
    """One copy of the design: its registers, its streams, and what was seen at them."""

    def __init__(self, dut, copy):
        reset = (dut.aclk, dut.aresetn, False)
        self.dut, self.copy = dut, copy
        self.axil = AxiLiteMaster(AxiLiteBus.from_prefix(dut, f"{copy}_s_axi_ctrl"), *reset)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, f"{copy}_s_axis"), *reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, f"{copy}_m_axis"), *reset)
        self.offers, self.takes = [], []  # from the first cycle in which the input is open

    def port(self, name):
        return getattr(self.dut, f"{self.copy}_{name}")

    async def watch(self):
        """Keep when the source offers and the sink is ready, a bit a cycle."""
        while True:
            await FallingEdge(self.dut.aclk)
            if self.offers or int(self.port("is_open").value):
                self.offers.append(int(self.port("s_axis_tvalid").value))
                self.takes.append(int(self.port("m_axis_tready").value))

    async def read(self, offset):
        answer = await self.axil.read(offset, 4)
        assert answer.resp == AxiResp.OKAY
        return int.from_bytes(answer.data, "little")

    async def write(self, offset, value):
        assert (await self.axil.write(offset, value.to_bytes(4, "little"))).resp == AxiResp.OKAY

    def device(self, language):
        """A driver whose calls go to the simulation; to be used in functions that `bridge` runs."""
        read32, write32 = resume(self.read), resume(self.write)
        return driver.Device(driver.Calls(read32, write32)) if language == "python" else CDevice(read32, write32)

    async def send(self, frames, cut=None):
        """Offer frames; `cut` are other places for TLAST, in beats."""
        data = frame_bytes("beats_in", CASE["bytes_in"], BEATS_IN, frames)
        cuts = [0, *(cut or range(BEATS_IN, len(frames) * BEATS_IN, BEATS_IN)), len(frames) * BEATS_IN]
        for a, b in itertools.pairwise(cuts):
            await self.source.send(AxiStreamFrame(data[a * CASE["bytes_in"]:b * CASE["bytes_in"]]))

    async def receive(self, frames):
        """Take frames, and compare every byte."""
        for frame in frames:
            got = await self.sink.recv()
            assert bytes(got.tdata) == frame_bytes("beats_out", CASE["bytes_out"], BEATS_OUT, [frame]), f"frame {frame}"

    async def preset(self, value, *counters):
        """Set counters, from one falling edge to the next."""
        await FallingEdge(self.dut.aclk)
        self.dut.preset_value.value = value
        self.dut.preset.value = sum(1 << CASE["presets"].index(name) for name in counters)
        await FallingEdge(self.dut.aclk)
        self.dut.preset.value = 0

    def keep(self, name, frames, counters):
        """For the comparison with hwsim."""
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known[name] = {"frames": frames, "offers": self.offers, "takes": self.takes, "counters": counters}
        RESULTS.write_text(json.dumps(known))


def frame_bytes(key, width, beats, frames):
    words = [VECTORS[key][frame % FRAMES * beats + n] for frame in frames for n in range(beats)]
    return b"".join(int(word, 16).to_bytes(width, "little") for word in words)


def pauses(seed, share):
    """Whether a port pauses, cycle by cycle."""
    chance = random.Random(seed)
    while True:
        for _ in range(chance.randrange(1, 20)):
            yield chance.random() < share
        for _ in range(chance.choice([0, 0, 1, 30])):
            yield True


async def begin(dut, copy="manual"):
    for one in ("manual", "eager"):
        for port, value in (("s_axi_ctrl_awvalid", 0), ("s_axi_ctrl_wvalid", 0), ("s_axi_ctrl_arvalid", 0), ("s_axi_ctrl_bready", 0),
                            ("s_axi_ctrl_rready", 0), ("s_axis_tvalid", 0), ("s_axis_tlast", 0), ("m_axis_tready", 0)):
            getattr(dut, f"{one}_{port}").value = value
    dut.preset.value = 0
    dut.aresetn.value = 0
    tb = TB(dut, copy)
    Clock(dut.aclk, 10, unit="ns").start()
    await ClockCycles(dut.aclk, 3)
    await FallingEdge(dut.aclk)
    dut.aresetn.value = 1
    cocotb.start_soon(tb.watch())
    return tb
