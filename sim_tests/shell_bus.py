"""Tests of the control shell's bus: what reads and writes reach, and what they leave alone.  `shell_bench` runs them with its own."""

import random

import cocotb
from cocotb.task import bridge
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp
from shell_tb import DONE, FRAME, OFFSET, REGISTERS, begin


@cocotb.test()
@cocotb.parametrize(copy=["manual", "eager"])
async def reset_values_and_access(dut, copy):
    """Every register as it was after reset; then what writing all ones, and single bytes, does to it."""
    tb = await begin(dut, copy)
    if copy == "eager":  # its cycles count by now
        await tb.write(OFFSET["interrupt_global"], 0)
    for one in REGISTERS:
        found = await tb.read(one["offset"])
        if not (copy == "eager" and one["name"].startswith(("cycles", "input_stalls"))):
            assert found == one["reset"][copy], f"{one['name']}: 0x{found:08x}"
    await tb.write(OFFSET["control"], 2)
    await ClockCycles(dut.aclk, 4)
    for one in REGISTERS:
        if one["name"] == "control":
            continue
        rw, w1c = (sum(field["mask"] for field in one["fields"] if field["access"] == kind) for kind in ("rw", "w1c"))
        value = (await tb.read(one["offset"]) | rw) & ~w1c
        await tb.write(one["offset"], 0xFFFFFFFF)
        assert await tb.read(one["offset"]) == value, one["name"]
        for byte in range(4):
            assert (await tb.axil.write(one["offset"] + byte, b"\0")).resp == AxiResp.OKAY
            value &= ~(rw & 0xFF << 8 * byte)
            assert await tb.read(one["offset"]) == value, one["name"]
    assert await tb.read(OFFSET["control"]) == (0x400 if copy == "eager" else 0)


@cocotb.test()
async def addresses_without_a_register(dut):
    tb = await begin(dut)
    end = REGISTERS[-1]["offset"] + 4
    for offset in (end, end + 4, 0x80, 0x100, 0x420, 0x800, 0xFFC):
        answer = await tb.axil.read(offset, 4)
        assert (answer.resp, bytes(answer.data)) == (AxiResp.SLVERR, b"\0\0\0\0")
        assert (await tb.axil.write(offset, b"\xff\xff\xff\xff")).resp == AxiResp.SLVERR
    assert [await tb.read(one["offset"]) for one in REGISTERS] == [one["reset"]["manual"] for one in REGISTERS]


@cocotb.test()
async def address_and_data_apart(dut):
    """An address without its data is taken and waits, and the other way round; nothing else on the bus hangs meanwhile."""
    tb = await begin(dut)
    write = tb.axil.write_if
    for first, late, ready in ((write.aw_channel, write.w_channel, "awready"), (write.w_channel, write.aw_channel, "wready")):
        late.pause = True
        value = random.randrange(1 << 32)
        writing = cocotb.start_soon(tb.write(OFFSET["frames_wanted"], value))
        await ClockCycles(dut.aclk, 40)
        assert not int(tb.port(f"s_axi_ctrl_{ready}").value)  # the first has been taken
        assert await tb.read(OFFSET["id"]) == 0x42495457
        assert not writing.done()
        late.pause = False
        await writing
        assert await tb.read(OFFSET["frames_wanted"]) == value
        assert first.empty()


@cocotb.test()
async def no_other_address(dut):
    """An address that differs from a register's in one bit reads as 0 and writes nothing, also where writing would have an effect."""
    tb = await begin(dut)
    device = tb.device("python")

    def run():
        device.enable_interrupts(DONE)
        device.start(1)

    await bridge(run)()
    await tb.send(range(1))
    await tb.receive(range(1))
    await ClockCycles(dut.aclk, 4)
    offsets = {one["offset"] for one in REGISTERS}
    before = [await tb.read(offset) for offset in sorted(offsets)]
    assert before[sorted(offsets).index(OFFSET["interrupt_status"])] == DONE | FRAME
    others = sorted({offset ^ 1 << bit for offset in offsets for bit in range(2, 12)} - offsets)
    for other in others:
        answer = await tb.axil.read(other, 4)
        assert (answer.resp, bytes(answer.data)) == (AxiResp.SLVERR, b"\0\0\0\0"), f"0x{other:x}"
        assert (await tb.axil.write(other, b"\xff\xff\xff\xff")).resp == AxiResp.SLVERR
    assert [await tb.read(offset) for offset in sorted(offsets)] == before


@cocotb.test()
async def an_idle_bus(dut):
    """Whatever lies on its address and data while nothing is valid, no register changes."""
    tb = await begin(dut)
    for value in (0, 0xFFFFFFFF):
        for name in ("interrupt_global", "interrupt_enable", "frames_wanted"):
            await tb.write(OFFSET[name], value)
        before = [await tb.read(one["offset"]) for one in REGISTERS]
        for one in REGISTERS:
            for port, lies in (("awaddr", one["offset"]), ("wdata", value ^ 0xFFFFFFFF), ("wstrb", 15)):
                tb.port(f"s_axi_ctrl_{port}").value = lies
            await ClockCycles(dut.aclk, 3)
        assert [await tb.read(one["offset"]) for one in REGISTERS] == before


@cocotb.test()
async def each_interrupt_by_itself(dut):
    """The interrupt is high while one is pending that is enabled; bytes of no mask leave what is enabled alone."""
    tb = await begin(dut)
    device = tb.device("python")
    for pending in (0, DONE | FRAME):
        if pending:
            await bridge(lambda: device.start(1))()
            await tb.send(range(1))
            await tb.receive(range(1))
            await ClockCycles(dut.aclk, 4)
        await tb.write(OFFSET["interrupt_global"], 1)
        assert await tb.read(OFFSET["interrupt_status"]) == pending
        for enabled in range(8):
            await tb.write(OFFSET["interrupt_enable"], enabled)
            assert (await tb.axil.write(OFFSET["interrupt_enable"] + 1, b"\xff")).resp == AxiResp.OKAY
            assert await tb.read(OFFSET["interrupt_enable"]) == enabled
            await ClockCycles(dut.aclk, 2)
            assert bool(int(tb.port("interrupt").value)) == bool(pending & enabled), (pending, enabled)


@cocotb.test()
async def only_clear_clears(dut):
    """What else is written to the control register leaves the counters of a run."""
    tb = await begin(dut)
    device = tb.device("python")
    await bridge(lambda: device.start(1))()
    await tb.send(range(1), cut=[1])
    await tb.receive(range(1))
    counters = await bridge(device.counters)()
    assert counters["cycles"] > 0
    assert counters["input_errors"] == 1
    for value in (0, 2, 0xFFFFFFF0):
        await tb.write(OFFSET["control"], value)
        assert await bridge(device.counters)() == counters
    await tb.write(OFFSET["control"], 8)
    assert await bridge(device.counters)() == counters | {"cycles": 0, "input_stalls": 0, "output_stalls": 0, "input_errors": 0}
