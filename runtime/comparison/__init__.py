"""Formats and models side by side."""
