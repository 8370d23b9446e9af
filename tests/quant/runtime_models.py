"""Models for the tests of runtimes' semantics: small float CNNs, their static quantization, stock onnxruntime."""

from __future__ import annotations

import contextlib
import io
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import intir
from quant.lower import host_input, lower

KINDS = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8,
         np.dtype(np.int32): TensorProto.INT32}


def model_of(nodes, inputs, outputs, constants, opset=18):
    """A model; inputs and outputs are {name: (dtype, shape)}, each node (op_type, inputs, output, attributes)."""
    made = [helper.make_node(op, names, [out], name=out, domain="com.microsoft" if op in CONTRIB else "", **attributes)
            for op, names, out, attributes in nodes]
    infos = [[helper.make_tensor_value_info(name, KINDS[np.dtype(kind)], shape) for name, (kind, shape) in one.items()]
             for one in (inputs, outputs)]
    graph = helper.make_graph(made, "g", *infos, [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()])
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


CONTRIB = ("QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearLeakyRelu",
           "QLinearSigmoid", "QLinearSoftmax", "MatMulIntegerToFloat")


def session(model, save=None, int8=False):
    """A stock session: default options but for one thread, and int8 kernels if asked for."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if int8:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    if save is not None:
        options.optimized_model_filepath = str(save)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def stock(model, x, int8=False):
    """What stock onnxruntime gives: for a batch at once if the model takes one, else one by one."""
    made = session(model, int8=int8)
    (source,) = made.get_inputs()
    if isinstance(source.shape[0], str):
        return made.run(None, {source.name: x})[0]
    return np.concatenate([made.run(None, {source.name: one[None]})[0] for one in x])


def lowered(model, x, semantics="exact", **options):
    """What the IR gives, in the source's layout; integers where the model's output is of an integer type."""
    graph = lower(model, semantics=semantics, **options).graph
    return intir.to_source(intir.run(graph, host_input(graph, x)), graph)


def float_cnn(seed=0, size=12, pool="GlobalAveragePool", activations=("Relu", "LeakyRelu", "Sigmoid"), bias=True):
    """Convolutions (plain, depthwise, pointwise, strided), a residual sum, a concatenation, pools and a Gemm."""
    rng = np.random.default_rng(seed)
    constants = {"flat": np.array([0, -1], np.int64)}

    def weights(name, *shape):
        constants[f"{name}_w"] = (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        constants[f"{name}_b"] = rng.normal(size=shape[0]).astype(np.float32) / 4
        return [f"{name}_w", *([f"{name}_b"] if bias else [])]

    first, second, third = activations
    nodes = [
        ("Conv", ["x", *weights("c1", 8, 1, 3, 3)], "a", {"pads": [1, 1, 1, 1], "strides": [2, 2]}), ("Relu", ["a"], "ar", {}),
        ("Conv", ["ar", *weights("dw", 8, 1, 3, 3)], "b", {"pads": [1, 1, 1, 1], "group": 8}), (first, ["b"], "br", {}),
        ("Conv", ["br", *weights("pw", 8, 8, 1, 1)], "c", {}), ("Add", ["ar", "c"], "d", {}), ("Relu", ["d"], "dr", {}),
        ("Conv", ["dr", *weights("l", 6, 8, 3, 3)], "e", {"pads": [1, 1, 1, 1]}), (second, ["e"], "er", {}),
        ("Conv", ["dr", *weights("r", 4, 8, 1, 1)], "f", {}), (third, ["f"], "fr", {}),
        ("Concat", ["er", "fr"], "g", {"axis": 1}), ("MaxPool", ["g"], "h", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        (pool, ["h"], "p", {"kernel_shape": [size // 4] * 2} if pool == "AveragePool" else {}),
        ("Reshape", ["p", "flat"], "q", {}), ("Gemm", ["q", *weights("fc", 10, 10)], "y", {"transB": 1}),
    ]
    return model_of(nodes, {"x": (np.float32, ["n", 1, size, size])}, {"y": (np.float32, ["n", 10])}, constants)


class Batches(CalibrationDataReader):
    def __init__(self, name, samples):
        self._left = iter([{name: one[None]} for one in samples])

    def get_next(self):
        return next(self._left, None)


def statically(model, samples, folder, fmt="QDQ", activations="QUInt8", weights="QInt8", per_channel=False, **extra):
    """The model as onnxruntime's static quantizer writes it."""
    source, target = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(model, source)
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            quantize_static(str(source), str(target), Batches(model.graph.input[0].name, samples), quant_format=QuantFormat[fmt],
                            activation_type=QuantType[activations], weight_type=QuantType[weights], per_channel=per_channel,
                            extra_options=extra)
    finally:
        logging.root.setLevel(before)
    return onnx.load(target)


def same(a, b):
    """Equal shape and values."""
    return np.array_equal(np.asarray(a, np.float64).reshape(np.asarray(b).shape), np.asarray(b, np.float64))
