"""How well labels agree: counts, intervals, thresholds, what a certificate says."""
