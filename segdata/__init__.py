"""Class names, data sets, preprocessing and metrics: what every stage agrees on."""
