"""Densities and bits chosen for each layer, by optuna, within what they cost."""

from .choose import SearchResult, search_bits, search_densities
from .study import Trial

__all__ = ["SearchResult", "Trial", "search_bits", "search_densities"]
