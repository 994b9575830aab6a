"""What INT8 costs and which mix is best: measured, judged, chosen, and kept in a file."""
