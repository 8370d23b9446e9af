"""Networks made and exported by Brevitas: the integers equal exact arithmetic, and the float execution but for its rounding.

Both exporters, and both ways of tracing that they know (TorchScript and dynamo), meet scales that are powers of two and
scales that are any float.
"""

import pytest

pytest.importorskip("brevitas", reason="Brevitas is not installed (pip install 'bitwright[interop]')")

from benchmarks.interop.models import cnv, convolutional, exported, mlp, mlp_binary, prepared, resnet8
from quant.check import check
from quant.lower import lower

#: Name -> (network of a kind of scale, input shape, inputs to check).
NETWORKS = {
    "MLP w1a1": (mlp_binary, (1, 28, 28), 1000),
    "MLP w2a2": (mlp, (1, 28, 28), 1000),
    "conv w4a4": (convolutional, (3, 16, 16), 200),
    "ResNet-8 w4a4": (lambda power_of_two: resnet8(power_of_two, width=8), (3, 16, 16), 24),
}


#: Traced by dynamo where scales are powers of two, which takes seconds; the others by TorchScript.
DYNAMO = ("MLP w2a2", "conv w4a4")


@pytest.fixture(scope="module")
def networks():
    made = {}

    def network(name, power_of_two):
        if (name, power_of_two) not in made:
            build, shape, _ = NETWORKS[name]
            made[name, power_of_two] = prepared(lambda: build(power_of_two), shape)
        return made[name, power_of_two]
    return network


@pytest.mark.parametrize("exporter", ["qonnx", "qcdq"])
@pytest.mark.parametrize("power_of_two", [True, False], ids=["power of two", "float"])
@pytest.mark.parametrize("name", NETWORKS)
def test_integers_equal_the_float_execution_but_for_its_rounding(networks, name, power_of_two, exporter):
    _, shape, count = NETWORKS[name]
    dynamo = power_of_two and name in DYNAMO
    if (name, exporter) == ("MLP w1a1", "qcdq"):
        with pytest.raises(AssertionError, match="Binary quant not supported"):  # QCDQ has no operator for {-1, +1}
            exported(networks(name, power_of_two), exporter, shape, dynamo=dynamo)
        return
    result = check(exported(networks(name, power_of_two), exporter, shape, dynamo=dynamo), count=count, witnesses=4)
    assert (result.inputs, result.values) == (count, 10 * count)
    assert result.ir_differs == 0
    assert result.exact_agrees == result.float_differs  # every difference is the float execution's rounding
    if power_of_two:
        assert (result.float_differs, result.float_rounded) == (0, 0)
    elif name == "conv w4a4":
        assert result.float_differs > 0  # the check has something to decide


def test_both_exporters_give_the_same_integers(networks):
    """What they write differs a lot; what it means does not."""
    import numpy as np

    import intir
    from quant.lower import host_input

    x = np.random.default_rng(0).uniform(-1, 1, (50, 3, 16, 16)).astype(np.float32)
    outputs = []
    for exporter in ("qonnx", "qcdq"):
        graph = lower(exported(networks("conv w4a4", False), exporter, (3, 16, 16), dynamo=False)).graph
        outputs.append(intir.to_source(intir.run(graph, host_input(graph, x)), graph))
    assert np.array_equal(*outputs)


@pytest.mark.parametrize(("bits", "exporter"), [(1, "qonnx"), (2, "qonnx"), (2, "qcdq")])
def test_cnv_of_the_brevitas_examples(bits, exporter):
    model = exported(prepared(lambda: cnv(bits), (3, 32, 32)), exporter, (3, 32, 32), dynamo=False)
    result = check(model, count=4, witnesses=1)
    assert (result.inputs, result.exact_inputs >= 1) == (4, True)
    assert (result.ir_differs, result.exact_agrees - result.float_differs) == (0, 0)
