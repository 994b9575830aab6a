"""Every change of number format: FP16 cast, INT8 quantisation; no torch."""
