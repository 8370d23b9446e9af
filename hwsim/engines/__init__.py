"""Engines: one parameter object each, which answers its timing, its actions and its size."""
