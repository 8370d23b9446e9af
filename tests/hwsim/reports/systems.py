"""A run of a network of 20 layers on a machine, plausible and made by hand: every number follows from a few per layer."""

from __future__ import annotations

from hwsim.systems.actions import Action
from hwsim.systems.report import LayerReport, SystemReport, Traffic

CLOCK_MHZ, PEAK_MACS, DRAM_GB_PER_S = 700.0, 1024, 12.8

#: Name, kind, millions of MACs, kB of weights, kB in, kB out, efficiency of the array.
LAYERS = (
    ("conv1", "product", 118.0, 9.4, 150.5, 802.8, 0.45), ("maxpool", "pool", 0.0, 0.0, 802.8, 200.7, 0.0),
    ("layer1.0.conv1", "product", 115.6, 36.9, 200.7, 200.7, 0.91), ("layer1.0.conv2", "product", 115.6, 36.9, 200.7, 200.7, 0.91),
    ("layer1.1.conv1", "product", 115.6, 36.9, 200.7, 200.7, 0.91), ("layer1.1.conv2", "product", 115.6, 36.9, 200.7, 200.7, 0.91),
    ("layer2.0.conv1", "product", 57.8, 73.7, 200.7, 100.4, 0.88), ("layer2.0.conv2", "product", 115.6, 147.5, 100.4, 100.4, 0.93),
    ("layer2.0.downsample", "product", 6.4, 8.2, 200.7, 100.4, 0.62), ("layer2.1.conv1", "product", 115.6, 147.5, 100.4, 100.4, 0.93),
    ("layer2.1.conv2", "product", 115.6, 147.5, 100.4, 100.4, 0.93), ("layer3.0.conv1", "product", 57.8, 294.9, 100.4, 50.2, 0.81),
    ("layer3.0.conv2", "product", 115.6, 589.8, 50.2, 50.2, 0.84), ("layer3.0.downsample", "product", 6.4, 32.8, 100.4, 50.2, 0.58),
    ("layer3.1.conv1", "product", 115.6, 589.8, 50.2, 50.2, 0.84), ("layer4.0.conv1", "product", 57.8, 1179.6, 50.2, 25.1, 0.52),
    ("layer4.0.conv2", "product", 115.6, 2359.3, 25.1, 25.1, 0.55), ("layer4.1.conv1", "product", 115.6, 2359.3, 25.1, 25.1, 0.55),
    ("avgpool", "pool", 0.0, 0.0, 25.1, 0.5, 0.0), ("fc", "product", 0.512, 512.0, 0.5, 1.0, 0.06),
)


def layer(name: str, kind: str, mega_macs: float, weights_kb: float, in_kb: float, out_kb: float, efficiency: float,
          start: int) -> LayerReport:
    macs, weights, inputs, outputs = round(mega_macs * 1e6), weights_kb * 1e3, in_kb * 1e3, out_kb * 1e3
    array = round(macs / PEAK_MACS / efficiency) if macs else round(inputs / 32)
    wanted = (weights + inputs + outputs) / (DRAM_GB_PER_S * 1e3) * CLOCK_MHZ
    stalls = {"dram_read": max(0, round(wanted - array)) + 150, "dram_write": 40 if outputs > 150e3 else 0,
              "fill": 62 if macs else 0, "sram": round(array * 0.03) if "downsample" in name else 0, "vector": 0}
    stalls = {cause: cycles for cause, cycles in stalls.items() if cycles}
    cycles = array + sum(stalls.values())
    traffic = tuple(one for one in (
        Traffic("dram", "read", "weights", weights), Traffic("dram", "read", "activations", inputs),
        Traffic("dram", "write", "outputs", outputs), Traffic("unified buffer", "write", "activations", inputs),
        Traffic("unified buffer", "read", "activations", inputs * 9), Traffic("unified buffer", "write", "outputs", outputs),
        Traffic("unified buffer", "read", "outputs", outputs), Traffic("weight memory", "write", "weights", weights),
        Traffic("weight memory", "read", "weights", weights * 4), Traffic("registers", "read", "sums", macs * 0.125),
        Traffic("registers", "write", "sums", macs * 0.125)) if one.bytes)
    actions = {"array": {Action("int_multiply", 8, 8): float(macs), Action("int_add", 32): float(macs)},
               "dram": {Action("dram_read", 8, kind="LPDDR4"): weights + inputs, Action("dram_write", 8, kind="LPDDR4"): outputs}}
    energy = {"array": macs * 0.3, "registers": macs * 0.12, "unified buffer": (inputs * 10 + outputs * 2) * 1.3,
              "weight memory": weights * 5 * 1.1, "vector": out_kb * 20.0, "dram": (weights + inputs + outputs) * 32.0,
              "leakage": cycles * 4.0}
    waits = max(stalls, key=lambda cause: stalls[cause], default="array")
    return LayerReport(
        name, kind, "integer" if macs else "none", "im2col" if macs else kind, "32 x 32 folds, pixels outside, filters inside" if macs
        else "", macs, start, cycles, array, stalls, macs / (cycles * PEAK_MACS), traffic, actions,
        {component: pj for component, pj in energy.items() if pj},
        {"unified buffer": min(inputs + outputs, 512e3), "weight memory": min(weights, 256e3)},
        min(DRAM_GB_PER_S, (weights + inputs + outputs) / (cycles / CLOCK_MHZ) / 1e3 * 1.4),
        "array" if sum(stalls.values()) < array else waits)


def system_report(**changed: object) -> SystemReport:
    layers: list[LayerReport] = []
    for values in LAYERS:
        layers.append(layer(*values, start=sum(one.cycles for one in layers)))
    made = {"network": "resnet18", "machine": "edge-npu", "batch": 1, "clock_mhz": CLOCK_MHZ, "peak_macs": PEAK_MACS,
            "dram_gb_per_s": DRAM_GB_PER_S, "energy_table": "45nm", "layers": tuple(layers),
            "memory_model": "Tiles are double-buffered: a tile's DRAM reads run while the one before is computed, at the bandwidth that "
                            "can be sustained; the first tile of a layer waits.",
            "notes": ("layer4.1.conv2 is left out of this example.",)}
    return SystemReport(**(made | changed))  # type: ignore[arg-type]
