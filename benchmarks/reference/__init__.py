"""Images per second of the reference executor beside the qonnx package's executor and onnxruntime."""
