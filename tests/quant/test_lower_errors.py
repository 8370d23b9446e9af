"""Bad input: one sentence that names the node, the value and the way out; never a traceback of something else."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from intir import BitwrightError
from quant.lower import LoweringError, explain, lower
from tests.quant.test_lower_oracle import f32, network, node

GOOD = {"s": f32(1), "z": f32(0), "b": f32(2), "w": f32(np.eye(3)), "bw": f32(3)}


def quantized(*nodes, last="t", constants=None, shape=(1, 3), out=(1, 3)):
    first = node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=1)
    return network([first, *nodes, node("Identity", [last], "y")], shape, out, GOOD | (constants or {}))


def refused(model, pattern, **options):
    with pytest.raises(LoweringError, match=pattern) as caught:
        lower(model, **options)
    assert isinstance(caught.value, BitwrightError)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 1500
    problems = explain(model, **options)
    assert problems and str(problems[0]) in text
    return problems


def test_files_that_are_no_networks(tmp_path, shared_models):
    refused(tmp_path / "none.onnx", "there is no file '.*none.onnx'")
    refused(tmp_path, "is not a regular file")
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    refused(empty, "holds no ONNX graph")
    noise = tmp_path / "noise.onnx"
    noise.write_bytes(np.random.default_rng(0).bytes(4000))
    refused(noise, "truncated or no ONNX file|holds no ONNX graph")
    whole = (shared_models / "TFC_1W1A.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for size in (10, len(whole) // 3, len(whole) - 7):
        cut.write_bytes(whole[:size])
        refused(cut, "truncated|holds no ONNX graph|")


@pytest.mark.parametrize("seed", range(12))
def test_damaged_bytes_never_leak_a_traceback(tmp_path, shared_models, seed):
    data = bytearray((shared_models / "TFC_1W1A.onnx").read_bytes())
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(data), 3):
        data[at] = rng.integers(0, 256)
    for at in rng.integers(0, 2500, 2):  # where names and structure are
        data[at] = rng.integers(0, 256)
    path = tmp_path / "damaged.onnx"
    path.write_bytes(bytes(data))
    try:
        lower(path, input_spec="u8/255")
    except BitwrightError as error:
        assert "\n" not in str(error)


def test_not_quantized():
    float_weights = {"w": f32(np.random.default_rng(0).normal(size=(3, 3)))}
    model = network([node("MatMul", ["x", "w"], "y")], (1, 3), (1, 3), float_weights)
    refused(model, r"node 'MatMul_y' \(MatMul\): the float input 'x' reaches it without a quantizer.*--input u8/255")
    refused(model, r"node 'MatMul_y' \(MatMul\): it has float weights.*limit is 16; quantize them with Quant", input_spec="u8/255")


def test_a_float_layer_in_the_middle():
    weights = {"f": f32(np.random.default_rng(0).normal(size=(3, 3)))}
    model = quantized(node("MatMul", ["q", "f"], "m"), node("BipolarQuant", ["m", "s"], "t"), constants=weights)
    refused(model, r"node 'MatMul_m' \(MatMul\): it has float weights")


def test_unsupported_operators_say_what_is_supported():
    refused(
        quantized(node("LSTM", ["q"], "t")),
        r"node 'LSTM_t' \(LSTM\): operator LSTM is not supported; supported are "
        ".*MatMul.*Quant",
    )
    foreign = helper.make_node("Conv", ["q", "w"], ["t"], name="c", domain="somebody.else")
    refused(quantized(foreign), r"operator Conv of domain 'somebody.else' is not supported")
    refused(quantized(node("MatMul", ["q", "q"], "t")), "multiplies two computed tensors")
    refused(quantized(node("Div", ["w", "q"], "t")), "divides by a computed tensor")


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
    [
        ("s", np.nan, "scale.*nan"),
        ("s", np.inf, "scale.*inf"),
        ("s", 0.0, "scale holds 0"),
        ("s", [1.0, 0.0, 2.0], "scale holds 0"),
        ("z", np.nan, "nan"),
        ("b", 2.5, "bit width is 2.5"),
        ("b", 0.0, "bit width is 0"),
        ("b", 40.0, "bit width is 40"),
        ("s", [1.0, 2.0], r"shape \(2,\) does not broadcast"),
    ],
)
def test_constants_that_no_quantizer_can_have(name, value, pattern):
    problems = refused(quantized(last="q", constants={name: f32(value)}), pattern)
    assert problems[0].node == "Quant_q"


def test_data_dependent_scales():
    refused(
        quantized(node("Quant", ["q", "q", "z", "b"], "t", signed=1, narrow=1)), "its scale is computed from the network's input"
    )


def test_nan_in_weights_and_rounding_modes():
    weights = node("Quant", ["w", "s", "z", "bw"], "wq", signed=1, narrow=1)
    refused(quantized(weights, node("MatMul", ["q", "wq"], "t"), constants={"w": f32([[np.nan] * 3] * 3)}), "holds nan.*finite")
    refused(
        quantized(node("Quant", ["q", "s", "z", "b"], "t", rounding_mode="STOCHASTIC")), "rounding mode 'STOCHASTIC' is unknown"
    )


@pytest.mark.parametrize(
    ("shape", "pattern"),
    [
        ((1, "time"), r"input has shape \(1, \?\).*fixed"),
        ((8, 3), "batch of 8"),
        ((1, 2**20, 2**20), "beyond the limit"),
        ((3,), "batch axis"),
    ],
)
def test_shapes(shape, pattern):
    refused(network([node("Identity", ["x"], "y")], shape, shape, {"unused": f32(0)}), pattern)


def test_a_batch_axis_without_a_size_is_a_batch_of_one():
    model = quantized(node("MatMul", ["q", "w"], "t"), shape=("N", 3))
    assert lower(model).graph.input.value == "x"


def test_structure():
    refused(quantized(node("MatMul", ["q", "nowhere"], "t")), "reads 'nowhere', which nothing makes")
    loop = [node("Add", ["q", "b2"], "a2"), node("Neg", ["a2"], "b2"), node("Identity", ["b2"], "t")]
    refused(quantized(*loop), "part of a cycle")
    refused(quantized(node("Neg", ["q"], "q"), last="q"), "made twice")
    refused(quantized(node("MatMul", ["q"], "t")), "MatMul_t.*weights.*missing|malformed")
    refused(quantized(node("Quant", ["q"], "t")), "it has 1 inputs")
    refused(quantized(node("Reshape", ["q", "shape"], "t"), constants={"shape": np.array([7, -1])}), "cannot become")
    refused(quantized(node("Transpose", ["q"], "t", perm=[0, 5])), "permutation")
    refused(
        quantized(
            node("ConstantOfShape", ["huge"], "c"), node("Add", ["q", "c"], "t"), constants={"huge": np.array([2**20, 2**20])}
        ),
        "beyond the limit",
    )


def test_unsorted_nodes_are_sorted_and_dead_ones_ignored():
    nodes = [
        node("Identity", ["t"], "y"),
        node("MatMul", ["q", "w"], "t"),
        node("LSTM", ["q"], "dead"),
        node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=1),
    ]
    assert lower(network(nodes, (1, 3), (1, 3), GOOD)).graph.nodes


def external(folder, location, **entries):
    model = quantized(node("MatMul", ["q", "w"], "t"))
    tensor = next(one for one in model.graph.initializer if one.name == "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path):
    inside = tmp_path / "model"
    inside.mkdir()
    for where in (tmp_path, inside):
        (where / "w.bin").write_bytes(f32(np.eye(3)).tobytes())
    assert lower(external(inside, "w.bin")).graph
    refused(external(inside, "../w.bin"), "outside the model's folder")
    refused(external(inside, str(tmp_path / "w.bin")), "outside the model's folder")
    (inside / "link.bin").symlink_to(tmp_path / "w.bin")
    refused(external(inside, "link.bin"), "outside the model's folder")
    refused(external(inside, "missing.bin"), "is missing")
    refused(external(inside, "w.bin", offset=8), "36 bytes at 8 of a file of 36")
    refused(external(inside, "w.bin", length=10**12), "10")
    refused(external(inside, "w.bin", offset="x"), "no number")


def test_absurd_tensors(tmp_path):
    model = quantized(node("MatMul", ["q", "w"], "t"))
    tensor = next(one for one in model.graph.initializer if one.name == "w")
    tensor.dims[:] = [2**40, 2**40]
    refused(model, "tensor 'w' has dimensions .* beyond the limit")
    tensor.dims[:] = [3, 4]
    refused(model, "its data does not fill them")
    tensor.dims[:] = [-3, -3]
    refused(model, "dimensions")
    names = helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])
    model.graph.initializer.remove(tensor)
    model.graph.initializer.append(names)
    refused(model, "holds no numbers")


def test_explain_lists_all_problems_at_once():
    rng = np.random.default_rng(0)
    nodes = [
        node("Quant", ["x", "s", "z", "b"], "q", signed=1, narrow=1),
        node("MatMul", ["q", "f"], "m"),
        node("BipolarQuant", ["m", "s"], "p"),
        node("GRU", ["p"], "g"),
        node("Mul", ["g", "s"], "g2"),
        node("BipolarQuant", ["g2", "s"], "p2"),
        node("Quant", ["p2", "zero", "z", "b"], "t"),
        node("Identity", ["t"], "y"),
    ]
    model = network(nodes, (1, 3), (1, 3), GOOD | {"f": f32(rng.normal(size=(3, 3))), "zero": f32(0)})
    del model.graph.value_info[:]
    for name in ("m", "p", "g", "g2", "p2"):
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3)))
    problems = refused(model, r"and 2 more problems: lower with --explain lists all")
    assert [one.node for one in problems] == ["MatMul_m", "GRU_g", "Quant_t"]


def test_a_sound_network_has_no_problems(shared_models):
    assert explain(shared_models / "TFC_2W2A.onnx", input_spec="u8/255") == []


@pytest.mark.parametrize(
    "spec", ["", "8", "u", "u0", "u33", "f8", "u8/0", "u8/-1", "u8*0", "u8/1/0", "u8*1/0", "u8/255; rm", "u8/1e9999"]
)
def test_input_specs_that_are_none(spec, shared_models):
    refused(shared_models / "TFC_1W1A.onnx", "is not understood|scale of zero", input_spec=spec)


def test_weights_of_odd_dtypes():
    for dtype in (np.float16, np.float64, np.int8, np.int64):
        model = quantized(node("MatMul", ["q", "w"], "t"), constants={"w": np.eye(3, dtype=dtype)})
        assert lower(model).graph
    model = quantized(node("MatMul", ["q", "w"], "t"))
    tensor = next(one for one in model.graph.initializer if one.name == "w")
    tensor.CopyFrom(numpy_helper.from_array(np.eye(3, dtype=np.float32), "w"))
    onnx.checker.check_tensor(tensor)
    assert lower(model).report[0].form.startswith("MatMul 3 x 3")


def test_bombs_are_refused_before_they_allocate():
    squares = [node("Mul", [f"c{i}", f"c{i}"], f"c{i + 1}") for i in range(60)]
    refused(quantized(*squares, node("Mul", ["q", "c60"], "t"), constants={"c0": f32(1.1)}), "fractions of more than 4096 bits")
    doubles = [node("Concat", [f"c{i}", f"c{i}"], f"c{i + 1}", axis=0) for i in range(60)]
    refused(quantized(*doubles, node("Mul", ["q", "c60"], "t"), constants={"c0": f32(np.ones(3))}), "beyond the limit")
    pads = {"pads": np.array([0, 0, 0, 2**40])}
    refused(quantized(node("Pad", ["q", "pads"], "t"), constants=pads), "beyond the limit")
