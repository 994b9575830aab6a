"""Memory, streams and graphs of an NVIDIA GPU."""
