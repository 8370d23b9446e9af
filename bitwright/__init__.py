"""bitwright: quantized, binarized and pruned neural networks as exact integer hardware."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hwsim import __version__

if TYPE_CHECKING:
    from .api import build, check, lower, run, simulate, simulate_on, synth, verify

__all__ = ["__version__", "build", "check", "lower", "run", "simulate", "simulate_on", "synth", "verify"]


def __getattr__(name: str) -> Any:
    """The functions of `api`, loaded when first used: it takes a second, and a command that needs none of them starts at once."""
    if name in __all__:
        return getattr(import_module(".api", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
