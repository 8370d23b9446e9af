"""What an operation on a chip takes at another node and supply voltage.

The fits of A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
to 7 nm", Integration 58 (2017): energy of a gate = a V^2 + b V + c, one set of coefficients a node.
"""

from __future__ import annotations

from math import exp, log
from typing import Final

import numpy as np

from .grid import EnergyError

#: Node in nm -> (a, b, c); the coefficients agree with those in two other programs that cite the paper.
COEFFICIENTS: Final = {
    130: (7.171, -6.709, 2.904), 90: (4.762, -4.781, 2.092), 65: (3.755, -4.398, 1.975), 45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471), 20: (0.373, -0.1582, 0.04104), 16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239), 10: (0.2068, -0.09311, 0.02375), 7: (0.1776, -0.09097, 0.02447),
}
#: Volts between which we use the fits; below 0.6 V the one of 65 nm rises again.
LEAST_VOLTS: Final = 0.6
MOST_VOLTS: Final = 1.3


def relative_energy(node_nm: float, volts: float) -> float:
    """Energy of a gate in the units of the fits; between two nodes, the logarithm is interpolated against the node's.

    Raises
    ------
    EnergyError
        Outside 7 to 130 nm and 0.6 to 1.3 V.
    """
    nodes = sorted(COEFFICIENTS)
    if not nodes[0] <= node_nm <= nodes[-1]:
        raise EnergyError(f"{node_nm} nm is outside the fits that scale energy; choose {nodes[0]} to {nodes[-1]} nm")
    if not LEAST_VOLTS <= volts <= MOST_VOLTS:
        raise EnergyError(f"{volts} V is outside the fits that scale energy; choose {LEAST_VOLTS} to {MOST_VOLTS} V")
    energies = [log(a * volts * volts + b * volts + c) for a, b, c in (COEFFICIENTS[node] for node in nodes)]
    return exp(float(np.interp(log(node_nm), np.log(nodes), energies)))


def scale(from_node_nm: float, from_volts: float, node_nm: float, volts: float) -> float:
    """Energy at (`node_nm`, `volts`) over the one at (`from_node_nm`, `from_volts`)."""
    return relative_energy(node_nm, volts) / relative_energy(from_node_nm, from_volts)
