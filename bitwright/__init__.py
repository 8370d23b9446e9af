"""bitwright: quantized, binarized and pruned neural networks as exact integer hardware."""

from hwsim import __version__

from .api import build, check, lower, run, simulate, simulate_on, synth, verify

__all__ = ["__version__", "build", "check", "lower", "run", "simulate", "simulate_on", "verify"]
