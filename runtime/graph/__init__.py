"""Reading an ONNX graph: shapes, operations, parameters."""
