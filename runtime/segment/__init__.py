"""An image in, labels out: tiles, overlapping stages, the Segmenter."""
