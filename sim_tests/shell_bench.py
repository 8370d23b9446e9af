"""Runs inside the simulator, as the bench of a bundle: the control shell through its ports, by both drivers."""

import random

import cocotb
from cocotb.task import bridge
from cocotb.triggers import ClockCycles, FallingEdge
from cocotbext.axi import AxiResp, AxiStreamFrame
from shell_bus import *  # noqa: F403 - its tests are found here
from shell_tb import BEATS_IN, CASE, DONE, FRAME, FRAMES, INPUT_ERROR, OFFSET, REGISTERS, begin, driver, frame_bytes, pauses


@cocotb.test()
@cocotb.parametrize(language=["python", "c"])
async def a_run(dut, language):
    """AUTO_START = 0: nothing is taken before start; then so many frames, and no more; the interrupt says when they are done."""
    tb = await begin(dut)
    device = tb.device(language)
    await tb.send(range(FRAMES + 2))  # two more than wanted
    for _ in range(30):
        await FallingEdge(dut.aclk)
        assert not int(tb.port("s_axis_tready").value)

    def setup():
        device.check()
        assert device.design_hash() == int(CASE["design"], 16)
        assert not device.is_busy()
        assert device.take_interrupts() == 0
        device.enable_interrupts(DONE)
        device.start(FRAMES)

    await bridge(setup)()
    await tb.receive(range(FRAMES))
    for _ in range(10):
        if int(tb.port("interrupt").value):
            break
        await FallingEdge(dut.aclk)
    await ClockCycles(dut.aclk, 20)
    assert int(tb.port("interrupt").value)  # it stays

    def finish():
        device.wait()
        counters = device.counters()
        assert device.take_interrupts() == DONE | FRAME
        assert device.take_interrupts() == 0
        return counters

    counters = await bridge(finish)()
    assert not int(tb.port("interrupt").value)
    assert counters["frames_in"] == counters["frames_out"] == FRAMES
    assert counters["input_errors"] == 0
    assert tb.sink.empty()
    tb.keep(f"a_run_{language}", FRAMES, counters)

    def again():
        device.enable_interrupts(0)
        device.start(2)
        device.wait()
        assert device.take_interrupts() == DONE | FRAME
        return device.counters()

    assert (await bridge(again)())["frames_out"] == 2
    await tb.receive([FRAMES, FRAMES + 1])
    assert not int(tb.port("interrupt").value)


@cocotb.test()
@cocotb.parametrize(language=["python", "c"], seed=[1, 2])
async def hostile_traffic(dut, language, seed):
    """A run with stalls at both ends, while the bus is busy with delays and back-pressure on every channel."""
    tb = await begin(dut)
    device = tb.device(language)
    write, read = tb.axil.write_if, tb.axil.read_if
    for n, channel in enumerate((write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel)):
        channel.set_pause_generator(pauses(100 * seed + n, 0.5))
    tb.source.set_pause_generator(pauses(seed, 0.4))
    tb.sink.set_pause_generator(pauses(seed + 50, 0.4))
    await bridge(lambda: device.start(FRAMES))()
    await tb.send(range(FRAMES))
    receiving = cocotb.start_soon(tb.receive(range(FRAMES)))
    chance, enabled = random.Random(seed), 0

    async def reads():
        while not receiving.done():
            one = chance.choice([one for one in REGISTERS if not one["volatile"] and one["name"] != "interrupt_enable"])
            found = await tb.read(one["offset"])
            assert found == (FRAMES if one["name"] == "frames_wanted" else one["reset"]["manual"]), one["name"]
            assert (await tb.axil.read(0x400, 4)).resp == AxiResp.SLVERR

    reading = cocotb.start_soon(reads())
    while not receiving.done():
        value, byte = chance.randrange(256), chance.randrange(4)
        enabled = value & 7 if byte == 0 else enabled
        assert (await tb.axil.write(OFFSET["interrupt_enable"] + byte, bytes([value]))).resp == AxiResp.OKAY
    await receiving
    await reading

    def finish():
        device.wait()
        return device.counters()

    tb.keep(f"hostile_{language}_{seed}", FRAMES, await bridge(finish)())
    assert await tb.read(OFFSET["interrupt_enable"]) == enabled


@cocotb.test()
@cocotb.parametrize(stalled=[False, True])
async def soft_reset_in_the_middle(dut, stalled):
    """A frame is half in, or an output waits: both are dropped, and what comes next is right to the cycle."""
    tb = await begin(dut)
    device = tb.device("python")

    def start():
        device.enable_interrupts(INPUT_ERROR)
        device.start(0)

    await bridge(start)()
    tb.sink.pause = stalled
    await tb.send(range(2))
    await tb.send([2], cut=[BEATS_IN // 2])
    if stalled:
        while not int(tb.port("m_axis_tvalid").value):
            await FallingEdge(dut.aclk)
    else:
        await tb.receive(range(2))
        while not int(tb.port("interrupt").value):
            await FallingEdge(dut.aclk)
    tb.source.assert_reset(True)  # the rest of the frame never comes
    tb.source.clear()
    await bridge(device.soft_reset)()
    await ClockCycles(dut.aclk, 3)
    assert not int(tb.port("interrupt").value)
    assert not int(tb.port("m_axis_tvalid").value)
    tb.source.assert_reset(False)
    tb.sink.pause = False
    tb.offers.clear()
    tb.takes.clear()

    def again():
        assert not device.is_busy()
        assert device.counters() == dict.fromkeys(driver.COUNTERS, 0)
        assert device.take_interrupts() == 0
        assert device.read("interrupt_enable") == INPUT_ERROR
        device.start(3)

    await bridge(again)()
    await tb.send([2, 0, 1])
    await tb.receive([2, 0, 1])

    def finish():
        device.wait()
        return device.counters()

    tb.keep(f"after_soft_reset_{int(stalled)}", 3, await bridge(finish)())


@cocotb.test()
async def soft_reset_and_start_at_once(dut):
    """One write drops what is inside and begins a run."""
    tb = await begin(dut)
    await tb.write(OFFSET["control"], 1)
    tb.sink.pause = True
    await tb.send(range(2))
    while not int(tb.port("m_axis_tvalid").value):
        await FallingEdge(dut.aclk)
    tb.source.assert_reset(True)
    tb.source.clear()
    tb.offers.clear()
    tb.takes.clear()
    await tb.write(OFFSET["frames_wanted"], 2)
    await tb.write(OFFSET["control"], 5)
    tb.source.assert_reset(False)
    tb.sink.pause = False
    await tb.send(range(4, 6))
    await tb.receive(range(4, 6))
    await ClockCycles(dut.aclk, 4)
    assert await tb.read(OFFSET["control"]) == 0
    assert await tb.read(OFFSET["frames_out"]) == 2


@cocotb.test()
async def a_wrong_tlast(dut):
    """TLAST early or late: every one that is not on a frame's last beat counts, data are right all the same."""
    tb = await begin(dut)
    device = tb.device("c")

    def start():
        device.enable_interrupts(INPUT_ERROR)
        device.start(4)

    await bridge(start)()
    assert not int(tb.port("interrupt").value)
    await tb.send(range(4), cut=[1, BEATS_IN, BEATS_IN + BEATS_IN // 2, 3 * BEATS_IN + 1])
    await tb.receive(range(4))
    assert int(tb.port("interrupt").value)

    def finish():
        device.wait()
        assert device.take_interrupts() == DONE | FRAME | INPUT_ERROR
        return device.counters()

    counters = await bridge(finish)()
    assert counters["input_errors"] == 3
    tb.keep("a_wrong_tlast", 4, counters)


@cocotb.test()
@cocotb.parametrize(language=["python", "c"])
async def a_copy_that_starts_itself(dut, language):
    """Frames flow from reset on; a counted run needs stop first."""
    tb = await begin(dut, "eager")
    device = tb.device(language)
    await tb.send(range(2))
    await tb.receive(range(2))

    def counted():
        device.check()
        assert device.is_busy()
        try:
            device.start(3)
        except driver.DeviceError:
            pass
        else:
            raise AssertionError("started while busy")
        before = device.counters()
        assert (before["frames_in"], before["frames_out"]) == (2, 2)
        device.clear()
        cleared = device.counters()
        assert cleared["cycles"] < before["cycles"]
        assert (cleared["frames_in"], cleared["frames_out"]) == (2, 2)
        device.stop()
        device.wait()
        assert device.take_interrupts() == DONE | FRAME
        device.start(3)

    await bridge(counted)()
    await tb.send(range(2, 6))
    await tb.receive(range(2, 5))

    def finish():
        device.wait()
        return device.counters()

    tb.offers, tb.takes = [], []
    counters = await bridge(finish)()
    assert (counters["frames_in"], counters["frames_out"]) == (3, 3)


@cocotb.test()
async def stop_in_the_middle_of_a_frame(dut):
    """The frame that is in, or on offer, goes through; the next one waits outside."""
    tb = await begin(dut)
    device = tb.device("python")
    await bridge(lambda: device.start(0))()
    await tb.send(range(FRAMES))
    while not (int(tb.port("s_axis_tvalid").value) and int(tb.port("s_axis_tready").value)):
        await FallingEdge(dut.aclk)

    def stop():
        device.stop()
        device.wait()
        return device.counters()

    counters = await bridge(stop)()
    went = counters["frames_in"]
    assert 1 <= went == counters["frames_out"] < FRAMES
    await tb.receive(range(went))
    assert tb.sink.empty()
    tb.keep("stop", went, counters)


@cocotb.test()
async def stop_while_half_a_frame_is_in(dut):
    """The source pauses within a frame: the rest of it is still taken after stop, and nothing behind it."""
    tb = await begin(dut)
    device = tb.device("python")
    await bridge(lambda: device.start(0))()
    data = frame_bytes("beats_in", CASE["bytes_in"], BEATS_IN, [0])
    half = BEATS_IN // 2 * CASE["bytes_in"]
    await tb.source.send(AxiStreamFrame(data[:half]))
    await ClockCycles(dut.aclk, 20)
    await bridge(device.stop)()
    await ClockCycles(dut.aclk, 10)
    assert int(tb.port("is_open").value)
    await tb.source.send(AxiStreamFrame(data[half:]))
    await tb.send([1])
    await tb.receive([0])
    await ClockCycles(dut.aclk, 10)
    assert not int(tb.port("is_open").value)
    assert await tb.read(OFFSET["frames_in"]) == 1


@cocotb.test()
async def sixty_four_bits_of_one_moment(dut):
    """The high half of the cycles is that of the moment in which the low half was read."""
    tb = await begin(dut)
    await tb.write(OFFSET["control"], 1)
    await tb.preset(0xFFFFFFF0, "cycles")
    low = await tb.read(OFFSET["cycles_low"])
    assert low >= 0xFFFFFFF0
    await ClockCycles(dut.aclk, 40)
    assert await tb.read(OFFSET["cycles_high"]) == 0
    assert await tb.read(OFFSET["cycles_low"]) < 100
    assert await tb.read(OFFSET["cycles_high"]) == 1


@cocotb.test()
async def counters_of_any_size(dut):
    """Every bit of every counter is read as it is, and counts on from anything; what goes in and out is compared in all bits."""
    tb = await begin(dut)
    chance = random.Random(3)
    for bit in range(32):  # nothing else moves, so each is what was set
        value = chance.getrandbits(64)
        await tb.preset(value, *CASE["presets"])
        assert await tb.read(OFFSET["control"]) == 0
        for name in ("cycles_low", *CASE["presets"][1:]):
            assert await tb.read(OFFSET[name]) == value & 0xFFFFFFFF, name
        assert await tb.read(OFFSET["cycles_high"]) == value >> 32
        await tb.preset(value ^ 1 << bit, "frames_in")
        assert await tb.read(OFFSET["control"]) == 0x100
    await tb.preset(0, *CASE["presets"])
    await tb.write(OFFSET["control"], 1)
    tb.sink.pause = True
    await tb.send([0])
    while not int(tb.port("m_axis_tvalid").value):
        await FallingEdge(dut.aclk)
    for bits in range(0, 64, 3):  # now they count in every cycle, with a carry into any bit
        value = chance.getrandbits(64) & ~((1 << bits) - 1)
        await tb.preset(value - 1 & 0xFFFFFFFFFFFFFFFF, "cycles", "input_stalls", "output_stalls")
        await ClockCycles(dut.aclk, chance.randrange(1, 4))
        low = await tb.read(OFFSET["cycles_low"])
        cycles = await tb.read(OFFSET["cycles_high"]) << 32 | low
        assert 0 <= (cycles - value) % (1 << 64) < 20
        for name in ("input_stalls", "output_stalls"):
            assert 0 <= (await tb.read(OFFSET[name]) - cycles) % (1 << 32) < 40, name
    tb.sink.pause = False
    await tb.receive([0])
    for bits in range(32):
        value = chance.getrandbits(32) & ~((1 << bits) - 1)
        await tb.preset(value - 1 & 0xFFFFFFFF, "frames_in", "frames_out", "input_errors")
        await tb.send([bits], cut=[1])
        await tb.receive([bits])
        assert [await tb.read(OFFSET[name]) for name in ("frames_in", "frames_out", "input_errors")] == [value] * 3


@cocotb.test()
async def so_many_frames_and_no_more(dut):
    """The number of frames that ends a run is compared in all bits."""
    tb = await begin(dut)
    chance = random.Random(4)
    for wanted in (*(1 << bit for bit in range(32)), *(chance.getrandbits(32) for _ in range(8))):
        await tb.write(OFFSET["frames_wanted"], wanted)
        await tb.write(OFFSET["control"], 1)
        await tb.preset(wanted - 1, "frames_in", "frames_out")
        await tb.send([0])
        await tb.receive([0])
        assert await tb.read(OFFSET["control"]) == 0, f"0x{wanted:x}"
        assert await tb.read(OFFSET["frames_out"]) == wanted
