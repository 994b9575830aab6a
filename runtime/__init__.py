"""Runs finished model files: backends, benchmark, evaluation, inference and report; no torch."""
