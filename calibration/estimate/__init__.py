"""Latency of GPUs that are not at hand."""
