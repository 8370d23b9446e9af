"""The hardware model: plans, engines' timing and action counts, the cycle-exact dataflow simulator, reports."""

__version__ = "0.1.0"
