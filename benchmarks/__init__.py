"""Measured comparisons; each prints a table and a ratio measured in one run."""
