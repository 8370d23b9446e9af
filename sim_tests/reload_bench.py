"""Runs inside the simulator, as the bench of a bundle: memories written through the control shell, by both drivers."""

import cocotb
from cocotb.task import bridge
from cocotbext.axi import AxiResp
from shell_tb import CASE, FRAMES, OFFSET, VECTORS, begin, driver


def load(device, language, memories):
    """Write every memory."""
    for name, words in memories.items():
        number, _, bits = driver.MEMORIES[name]
        if language == "python":
            device.load_memory(name, words)
        else:
            parts = [word >> low & 0xFFFFFFFF for word in words for low in range(0, bits, 32)]
            assert device.load_memory_parts(number, parts) == 0


async def run(tb, device):
    """The frames of the bench, unstalled; the counters."""
    await tb.send(range(FRAMES))  # they wait outside, so that the run sees no stall
    await bridge(lambda: device.start(FRAMES))()
    await tb.receive(range(FRAMES))

    def finish():
        device.wait()
        return device.counters()

    return await bridge(finish)()


@cocotb.test()
@cocotb.parametrize(language=["python", "c"])
async def other_weights(dut, language):
    """Network A as built, B written, A written again: the bits of each, in the same cycles."""
    tb = await begin(dut)
    device = tb.device(language)
    ours, others = VECTORS["beats_out"], CASE["others_beats_out"]
    assert ours != others
    counters = []
    for memories, expected in ((None, ours), (CASE["others"], others), (CASE["ours"], ours)):
        if memories is not None:
            await bridge(load)(device, language, memories)
        VECTORS["beats_out"] = expected
        counters.append(await run(tb, device))
    VECTORS["beats_out"] = ours
    assert counters[0] == counters[1] == counters[2]
    tb.keep(f"other_weights_{language}", FRAMES, counters[1])


@cocotb.test()
async def not_while_busy(dut):
    """A part that comes while frames are inside is refused and changes nothing; the drivers ask first."""
    tb = await begin(dut)
    device = tb.device("python")
    name, words = next(iter(CASE["others"].items()))
    await tb.write(OFFSET["control"], 1)

    def refused():
        try:
            device.load_memory(name, words)
        except driver.DeviceError as error:
            return str(error)
        return ""

    assert await bridge(refused)() == "busy: stop() and wait() before load_memory()"
    for one in CASE["others"].values():
        for _ in one:
            assert (await tb.axil.write(OFFSET["memory_data"], b"\xff\xff\xff\xff")).resp == AxiResp.SLVERR
    await tb.write(OFFSET["control"], 2)
    assert await tb.read(OFFSET["memory_address"]) == 0
    await run(tb, device)


@cocotb.test()
async def a_word_begun_anew(dut):
    """Writing the address drops the parts of a word that came before."""
    tb = await begin(dut)
    device = tb.device("python")
    name = next(name for name, (_, _, bits) in driver.MEMORIES.items() if bits > 32)
    await tb.write(OFFSET["memory_select"], driver.MEMORIES[name][0])
    await tb.write(OFFSET["memory_data"], 0xFFFFFFFF)
    await bridge(load)(device, "python", {name: CASE["ours"][name]})
    assert await tb.read(OFFSET["memory_address"]) == driver.MEMORIES[name][1] % (1 << CASE["address_bits"])
    await run(tb, device)


@cocotb.test()
async def a_reset_keeps_what_was_written(dut):
    tb = await begin(dut)
    device = tb.device("python")
    await bridge(load)(device, "python", CASE["others"])
    await bridge(device.soft_reset)()
    ours, VECTORS["beats_out"] = VECTORS["beats_out"], CASE["others_beats_out"]
    await run(tb, device)
    VECTORS["beats_out"] = ours
    await bridge(load)(device, "python", CASE["ours"])
