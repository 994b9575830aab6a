"""Latency of models and layers, the state of the GPU meanwhile, trtexec's words for both."""
