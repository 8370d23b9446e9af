"""Pruning of single weights: which ones go, and what those that stay make up for."""

from .energyaware import energy_aware_pruning
from .iterative import geometric_densities, iterative_pruning
from .obd import optimal_brain_damage
from .obs import optimal_brain_surgeon
from .patterns import is_pattern, pattern_pruning
from .sensitivity import Sensitivity, SensitivityRow, analyse_sensitivity, densities_for

__all__ = [
    "Sensitivity", "SensitivityRow", "analyse_sensitivity", "densities_for", "energy_aware_pruning", "geometric_densities",
    "is_pattern", "iterative_pruning", "optimal_brain_damage", "optimal_brain_surgeon", "pattern_pruning",
]
