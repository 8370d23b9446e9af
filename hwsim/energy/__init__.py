"""What actions cost in energy: tables as data with their sources, grids of measured memories, scaling between nodes."""

from .grid import EnergyError
from .table import EnergyTable, energy_table, table_names

__all__ = ["EnergyError", "EnergyTable", "energy_table", "table_names"]
