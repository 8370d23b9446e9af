"""Files of other projects: those in the qonnx wheel, and the trained networks beside the repository."""

from pathlib import Path

import numpy as np
import pytest
import qonnx

import intir
from quant.check import check
from quant.lower import LoweringError, host_input, lower

WHEEL = Path(qonnx.__file__).parent / "data" / "onnx"

#: File -> what `--input` must say for it, or None if it has a quantizer at its input.
LOWERED = {
    "bsd300x3-espcn/nn_resize/quant_model.onnx": None,
    "bsd300x3-espcn/subpixel/quant_model.onnx": "u8/255",
    "eltwise_chanlast_testcase.onnx": "u8",  # its input is annotated as UINT8
}
#: File -> why it is refused, given which integers stand for its input: none of them is a quantized network.
REFUSED = {
    "bsd300x3-espcn/nn_resize/float_model.onnx": r"node '/conv1/Conv' \(Conv\): it has float weights: as integers they would need 40 bits",
    "bsd300x3-espcn/subpixel/float_model.onnx": r"node 'Conv_0' \(Conv\): it has float weights: as integers they would need 26 bits",
    "floatquant_exec/qonnx_act_weight_fp8.onnx": "operator FloatQuant of domain 'onnx.brevitas' is not supported",
    "matmul_update/sdp.onnx": "'onnx::Reshape_0': this input has a batch of 64; export the network with a batch of 1",
    "mnist-conv/model.onnx": r"node 'Convolution28' \(Conv\): it has float weights: as integers they would need 32 bits",
    # three unquantized convolutions in a row, whose 12-bit weights still fit; their products' products do not
    "residual_block_clean.onnx": r"node 'Add_0' \(Add\): .* on which integers need 76 bits and the limit is 62; use equal scales, or put a Quant",
}


def test_every_file_of_the_wheel_has_a_verdict():
    assert {path.relative_to(WHEEL).as_posix() for path in WHEEL.rglob("*.onnx")} == set(LOWERED) | set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_the_wheels_float_networks_are_refused(name):
    with pytest.raises(LoweringError, match=REFUSED[name]):
        lower(WHEEL / name, input_spec="u8/255")


@pytest.mark.parametrize("name", [name for name, spec in LOWERED.items() if spec])
def test_the_wheels_quantized_networks_are_exact(name):
    """On an image of noise."""
    graph = lower(WHEEL / name, input_spec=LOWERED[name]).graph
    x = np.random.default_rng(0).integers(0, 256, (1, *graph.input.source_shape))
    result = check(WHEEL / name, input_spec=LOWERED[name], x=x)
    assert result.exact_inputs == 1
    assert result.ir_differs == 0
    assert result.exact_agrees == result.float_differs


def test_the_espcn_file_differs_from_float_by_the_floats_rounding():
    """A pixel off in the float execution is a tie, or nearly one, that float32 decides wrongly."""
    x = np.random.default_rng(3).uniform(0, 1, (1, 3, 128, 128)).astype(np.float32)
    result = check(WHEEL / "bsd300x3-espcn/nn_resize/quant_model.onnx", x=x)
    assert result.values == 196_608
    assert 0 < result.float_differs == result.exact_agrees < 1000
    assert result.ir_differs == 0
    first = result.examples[0]
    assert first.exact_value == first.ir_value != first.float_value


@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_trained_networks_give_the_logits_of_the_real_digit(shared_models, name):
    digit = np.load(shared_models / "tfc_mnist_input.npy").astype(np.uint8)
    network = lower(shared_models / f"{name}.onnx", input_spec="u8/255")
    logits = intir.to_source(intir.run(network.graph, host_input(network.graph, digit)), network.graph)
    assert np.allclose(logits, np.load(shared_models / f"{name}_logits.npy"), rtol=1e-6, atol=0)
    assert int(logits.argmax()) == int(np.load(shared_models / "tfc_mnist_output.npy").ravel()[0])


@pytest.mark.parametrize("spec", ["u8/255", None])
@pytest.mark.parametrize("name", ["TFC_1W1A", "TFC_2W2A"])
def test_trained_networks_are_exact_on_a_thousand_inputs(shared_models, name, spec):
    result = check(shared_models / f"{name}.onnx", input_spec=spec, witnesses=16)
    assert (result.inputs, result.values, result.exact_inputs >= 16) == (1000, 10_000, True)
    assert result.ir_differs == 0
    assert result.exact_agrees == result.float_differs
