"""NNgen's side of the comparison: runs in NNgen's own environment, imports nothing of this project.

    python peer_nngen.py NETWORK.npz FOLDER PARALLELISM [--bench]

reads a network as `peers.describe` writes it, leaves ``design.v`` (the accelerator) in the folder and, with ``--bench``,
``bench.v`` (the same with NNgen's own AXI memory and a controller that runs one frame), and prints one line of JSON.
"""

import json
import sys
import time
from pathlib import Path

import nngen as ng
import numpy as np
import veriloggen.thread as vthread
from nngen.operator.relu import relu
from veriloggen import Module, Not, Seq
from veriloggen.types import axi

CHUNK_BYTES = 64
SUM_TYPE = ng.int32
#: Constants of the requantizer: NNgen stores and multiplies them as wide as this says.
BIAS_TYPE, SCALE_TYPE = ng.int32, ng.dtype_int(9, signed=True)


class Sign(relu):
    """+1 above zero, else -1: `ng.sign_binary` in a form that a product takes as its activation."""

    @staticmethod
    def op(strm, *args, **kwargs):
        return strm.Mux(args[0] > strm.Int(0), strm.Int(1), strm.Int(-1))

    def get_eval_method(self):
        return lambda x, **kwargs: np.where(x > 0, 1, -1)


def variable(kind, value, name):
    result = ng.variable(kind, shape=value.shape, name=name)
    result.set_value(value)
    return result


def stored(bits):
    """NNgen's memories hold widths that are powers of two."""
    return 1 << (bits - 1).bit_length()


def activation(layer):
    """Options of a product for its activation, and the shift before it."""
    if not layer["activation"]:
        return {"dtype": SUM_TYPE}, 0
    if layer["activation"] == "sign":
        # Two bits would do as well; in bytes NNgen's Verilog is shorter.
        return {"dtype": ng.int8, "act_func": Sign}, 0
    if layer["activation"] == "clip":
        return {"dtype": ng.dtype_int(stored(layer["bits"]))}, layer["shift"]
    # A ReLU's result is signed here, as it saturates before: eight bits of a network's own lose the last one.
    bits = min(stored(layer["bits"] + 1), max(8, layer["bits"]))
    return {"dtype": ng.dtype_int(stored(bits)), "act_func": ng.relu}, layer["shift"] + max(0, layer["bits"] + 1 - bits)


def build(arrays, layers, source, parallelism):
    """The network's operators, from the input's placeholder to the last layer."""
    kind = ng.int2 if source["bipolar"] else ng.dtype_int(stored(source["bits"]), source["signed"])
    value = ng.placeholder(kind, shape=(1, *source["shape"]), name="x")
    first = value
    for number, layer in enumerate(layers):
        weights = arrays[f"weights{number}"]
        conv = weights.ndim == 4
        if not conv and len(value.shape) > 2:
            value = ng.reshape(value, [1, -1])
        taps = np.transpose(weights, (3, 0, 1, 2)) if conv else weights.T
        # Weights of -1 and +1 take two bits: only `binary_weight_conv2d` has one-bit ones, and as a 1x1 convolution of 784
        # channels its Verilog gave other sums than NNgen's own software.
        kind = ng.dtype_int(max(2, stored(layer["weight_bits"])))
        options, shift = activation(layer)
        options |= {"sum_dtype": SUM_TYPE, "name": f"layer{number}"}
        if arrays[f"bias{number}"].any():
            options["bias"] = variable(BIAS_TYPE, arrays[f"bias{number}"], f"bias{number}")
        if (arrays[f"multiplier{number}"] != 1).any():
            options["scale"] = variable(SCALE_TYPE, arrays[f"multiplier{number}"], f"scale{number}")
        filters = variable(kind, taps, f"weights{number}")
        if conv:
            value = ng.conv2d(value, filters, (1, *layer["stride"], 1), padding=tuple(layer["pads"]), **options)
        else:
            value = ng.matmul(value, filters, transposed_b=True, **options)
        value.attribute(par_ich=min(parallelism, weights.shape[-2]))
        if shift:
            value.attribute(cshamt_out=shift)
        if layer.get("pool"):
            size, step = layer["pool"]
            value = ng.max_pool_serial(value, ksize=(1, *size, 1), strides=(1, *step, 1))
            value.attribute(par=parallelism)
    return first, value


def bench(design, first, last, parameters, x, data_bits):
    """A module that puts the design beside NNgen's AXI memory, runs one frame, and prints cycles and outputs."""
    def after(address, size):
        return -(-(address + size) // CHUNK_BYTES) * CHUNK_BYTES

    variables = after(first.addr, first.memory_size)
    scratch = after(variables, len(parameters))
    memory = np.zeros(2**20 // 4, np.int64)
    axi.set_memory(memory, x, 32, first.dtype.width, first.addr, max(-(-data_bits // first.dtype.width), first.word_alignment))
    axi.set_memory(memory, parameters, 32, 8, variables)
    m = Module("bench")
    m.copy_params(design)
    ports = m.copy_sim_ports(design, exclude=("CLK", "RESETN"))
    ports["CLK"], ports["RESETN"] = m.Input("CLK"), m.Input("RESETN")  # driven from outside
    clock, reset = ports["CLK"], m.Wire("RST")
    reset.assign(Not(ports["RESETN"]))
    ram = axi.AxiMemoryModel(m, "ram", clock, reset, datawidth=data_bits, memimg=memory, memimg_name="memory.hex",
                             memimg_datawidth=32)
    ram.connect(ports, "maxi")
    control = vthread.AXIMLite(m, "control", clock, reset, noio=True)
    control.connect(ports, "saxi")
    counter = m.Reg("counter", 32, initval=0)
    Seq(m, "counting", clock, reset)(counter.inc())
    outputs = int(last.shape[-1])

    def run():
        ng.sim.set_global_addrs(control, scratch)
        start = counter.value
        ng.sim.start(control)
        ng.sim.wait(control)
        print("cycles %d" % (counter.value - start))  # noqa: UP031 (it becomes Verilog)
        for index in range(outputs):
            print("output %d" % ram.read_word(index, last.addr, last.dtype.width))  # noqa: UP031
        vthread.finish()

    vthread.Thread(m, "run", clock, reset, run).start()
    m.Instance(design, "dut", params=m.connect_params(design), ports=m.connect_ports(design))
    return m


def main(network, folder, parallelism, with_bench):
    arrays = dict(np.load(network, allow_pickle=False))
    described = json.loads(str(arrays["network"]))
    source, folder, data_bits = described["input"], Path(folder), max(32, 8 * parallelism)
    sys.setrecursionlimit(10_000)  # operators refer to each other through the whole graph
    started = time.monotonic()
    first, last = build(arrays, described["layers"], source, parallelism)
    design = ng.to_veriloggen([last], "accelerator", silent=True, config={"maxi_datawidth": data_bits})
    text = design.to_verilog()
    seconds = time.monotonic() - started
    (folder / "design.v").write_text(text)
    result = {"seconds": seconds, "lines": text.count("\n"), "top": "accelerator", "files": ["design.v"]}
    if with_bench:
        x = arrays["x"].reshape(first.shape)
        result["expected"] = [int(value) for value in ng.eval([last], x=x)[0].ravel()]
        parameters = ng.export_ndarray([last], CHUNK_BYTES)
        # Its memory image goes to the current folder.
        (folder / "bench.v").write_text(bench(design, first, last, parameters, x, data_bits).to_verilog())
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "--bench" in sys.argv[4:])
