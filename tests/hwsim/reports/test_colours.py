"""Colours of the pages can be told apart, and text can be read, with every common kind of colour vision, in light and dark.

Source of the matrices (severity 1): Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision
deficiency", 2009.
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import hwsim.reports.html

VISION = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]])}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
MARKS = ("blue", "red", "orange", "green", "pink", "sky", "grey", "brown", "idle")
CSS = (Path(hwsim.reports.html.__file__).parent / "templates" / "page.css").read_text()


def theme(number: int) -> dict[str, np.ndarray]:
    """Linear RGB of the light theme's (0), the dark one's (1) or the printed page's colours (2)."""
    block = re.findall(r":root \{(.*?)\}", CSS, re.S)[number]
    found = {name: value if len(value) == 6 else "".join(2 * digit for digit in value)
             for name, value in re.findall(r"--([a-z-]+): #([0-9a-f]{3,6})", block)}
    rgb = {name: np.array([int(value[n:n + 2], 16) for n in (0, 2, 4)]) / 255 for name, value in found.items()}
    return {name: np.where(one <= 0.04045, one / 12.92, ((one + 0.055) / 1.055) ** 2.4) for name, one in rgb.items()}


def lab(linear: np.ndarray) -> np.ndarray:
    x = XYZ @ np.clip(linear, 0, 1) / XYZ.sum(axis=1)
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_marks_can_be_told_apart(number: int, vision: str) -> None:
    seen = {name: lab(VISION[vision] @ colour) for name, colour in theme(number).items() if name in MARKS}
    assert set(seen) == set(MARKS)
    distance = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(MARKS, 2)}
    assert min(distance.values()) >= 12, min(distance, key=lambda pair: distance[pair])


@pytest.mark.parametrize("number", [0, 1, 2])
def test_text_can_be_read(number: int) -> None:
    """Contrast of at least 4.5 (WCAG, AA)."""
    light = {name: float(XYZ[1] @ colour) for name, colour in theme(number).items()}
    for ink, paper in (("ink", "paper"), ("soft", "paper"), ("ink", "panel"), ("soft", "panel")):
        high, low = max(light[ink], light[paper]), min(light[ink], light[paper])
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
