"""Changes of the graph: folding, the FP16 cast, Q/DQ placement, mixes of both."""
