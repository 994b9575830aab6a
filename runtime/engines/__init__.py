"""From an ONNX file to a checked TensorRT engine."""
