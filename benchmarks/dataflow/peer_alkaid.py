"""alkaid's side of the comparison, and that of da4ml, its predecessor: runs in the environment of either.

    python peer_alkaid.py NETWORK.npz FOLDER

reads a network as `peers.describe` writes it, leaves the Verilog of the unrolled, pipelined network in the folder, and
prints one line of JSON.  It imports nothing of this project.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

try:
    import alkaid as tool
    from alkaid.codegen import RTLModel
    from alkaid.trace import FVArrayInput, trace
except ImportError:
    import da4ml as tool
    from da4ml.codegen import VerilogModel
    from da4ml.trace import FixedVariableArrayInput as FVArrayInput
    from da4ml.trace import comb_trace as trace

#: Pipeline registers are put where logic takes longer than this, in adders' delays: the tools' examples use 5.
LATENCY_CUTOFF = 5
NAME = "network"


def quantized(x, signed, bits, fraction=0, mode="WRAP", rounding="TRN"):
    return tool.trace.ops.quantize(x, int(signed), bits - int(signed) - fraction, fraction, mode, rounding)


def build(arrays, layers, source):
    """The traced network: products, then either a comparison with a threshold or a shift that rounds and saturates."""
    first = FVArrayInput(tuple(source["shape"]))
    value = quantized(first, source["signed"], source["bits"])
    if source["bipolar"]:
        value = 2 * value - 1
    for number, layer in enumerate(layers):
        value = value.ravel() @ arrays[f"weights{number}"] + arrays[f"bias{number}"]
        if layer["activation"] == "sign":
            value = 2 * (value > 0) - 1
        elif layer["activation"]:
            scaled = value * (arrays[f"multiplier{number}"] * 2.0**-layer["shift"])
            if layer["activation"] == "relu":
                scaled = np.maximum(scaled, 0)
            value = quantized(scaled, layer["signed"], layer["bits"], 0, "SAT", "RND")
    return first, value


def main(network, folder):
    arrays = dict(np.load(network, allow_pickle=False))
    described = json.loads(str(arrays["network"]))
    started, used = time.monotonic(), time.process_time()
    first, last = build(arrays, described["layers"], described["input"])
    logic = trace(first, last)
    if tool.__name__ == "alkaid":
        model = RTLModel(logic, folder, NAME, latency_cutoff=LATENCY_CUTOFF, print_latency=False)
    else:
        model = VerilogModel(logic, NAME, folder, latency_cutoff=LATENCY_CUTOFF, print_latency=False)
    model.write()
    seconds = time.monotonic() - started
    files = sorted(path for path in Path(folder, "src").rglob("*.v") if not path.stem.endswith("_wrapper"))
    x = arrays["x"].ravel()[None].astype(np.float64)
    x = (x > 0) * 1.0 if described["input"]["bipolar"] else x
    print(json.dumps({
        "seconds": seconds, "cpu_seconds": time.process_time() - used, "lines": sum(path.read_text().count("\n") for path in files),
        "top": NAME, "files": [str(path.relative_to(folder)) for path in files],
        "latency": latency(model), "expected": [int(y) for y in np.asarray(logic.predict(x)).ravel()],
    }))


def latency(model):
    """Clock cycles from an input to its output."""
    found = getattr(model, "latency", None)
    return int(found) if found is not None else len(model._pipe.solutions)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
