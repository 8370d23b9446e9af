"""The PyTorch side: quantizers, training data, QONNX export; and the lowering of QONNX networks to the IR."""
