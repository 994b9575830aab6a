"""Ranges of activations: measured on images, kept, and the images they come from."""
