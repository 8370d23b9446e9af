"""Layers as products of smaller ones, with ranks that keep to a budget."""

from .decompose import METHODS
from .factors import Costs, costs, lowrank

__all__ = ["METHODS", "Costs", "costs", "lowrank"]
