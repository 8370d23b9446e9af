"""The nine layers of the EIE paper, drawn at random with the published sizes and densities."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwsim.engines.csc import Csc, encode_entries

Int64 = NDArray[np.int64]
FILE: Final = Path(__file__).with_name("layers.csv")
PES: Final = 64
LANES: Final = 64
CLOCK_MHZ: Final = 800
DEPTHS: Final = (2, 4, 8, 16, 64)
#: Depth of the paper's queues.
PAPER_DEPTH: Final = 8
INDEX_BITS: Final = 4
CODE_BITS: Final = 4
#: The paper's numbers are 16-bit fixed point.
WEIGHT_BITS: Final = 16
#: CPU time of the authors' simulator for a cycle, measured: 0.06 s for 8,000 cycles.
AUTHORS_SECONDS_PER_CYCLE: Final = 0.06 / 8000


@dataclass(frozen=True)
class Published:
    """A row of `layers.csv`: times in us, that of the authors' simulator by queue depth."""

    name: str
    inputs: int
    outputs: int
    weight_density: float
    activation_density: float
    theoretical_us: float
    actual_us: float
    drawn_nonzeros: int
    drawn_ideal_us: float
    simulated_us: dict[int, float]

    @property
    def drawn_active(self) -> int:
        """Nonzero activations that the authors' simulator was measured with.

        They were drawn one by one, and so are up to 3% more or less than the published density says.
        """
        products = self.drawn_ideal_us * CLOCK_MHZ * PES
        return min(self.inputs, round(products / (self.drawn_nonzeros / self.inputs)))


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer to simulate.

    Parameters
    ----------
    name : str
    rows, columns, codes : int64 (nonzeros,)
        Its nonzero weights, ordered by column, then row.
    shape : (inputs, outputs)
    codebook : int64
    x : int64 (inputs,)
        Activations.
    index_bits, code_bits : int
        As in `Csc`.
    """

    name: str
    rows: Int64
    columns: Int64
    codes: Int64
    shape: tuple[int, int]
    codebook: Int64
    x: Int64
    index_bits: int = INDEX_BITS
    code_bits: int = CODE_BITS

    def encode(self, pes: int = PES) -> Csc:
        """Compress it."""
        return encode_entries(self.rows, self.columns, self.codes, self.shape, pes, self.codebook,
                              index_bits=self.index_bits, code_bits=self.code_bits)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A layer, compressed for `PES` elements, and the CPU seconds that took: encoding, and counting entries by column."""

    layer: Layer
    matrix: Csc
    encode_seconds: float
    count_seconds: float

    @classmethod
    def of(cls, layer: Layer) -> Encoded:
        """Encode a layer and take the time."""
        started = time.process_time()
        matrix = layer.encode()
        encoded = time.process_time()
        _ = matrix.column_counts
        return cls(layer, matrix, encoded - started, time.process_time() - encoded)


def published() -> list[Published]:
    """All nine."""
    with FILE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return [Published(row["layer"], int(row["inputs"]), int(row["outputs"]), float(row["weight_density"]),
                      float(row["activation_density"]), float(row["paper_theoretical_us"]), float(row["paper_actual_us"]),
                      int(row["drawn_nonzeros"]), float(row["drawn_ideal_us"]),
                      {depth: float(row[f"depth{depth}_us"]) for depth in DEPTHS}) for row in rows]


def drawn(one: Published, seed: int = 1) -> Layer:
    """Every weight is nonzero with the published probability, each code as likely."""
    rng = np.random.default_rng(seed)
    size = one.inputs * one.outputs
    expected = size * one.weight_density
    # from one nonzero to the next is geometric: no dense matrix is drawn
    steps = rng.geometric(one.weight_density, int(expected + 10 * np.sqrt(expected)) + 10)
    places = np.cumsum(steps) - 1
    columns, rows = np.divmod(places[places < size], one.outputs)
    values = np.concatenate([np.arange(-2000, 0), np.arange(1, 2000)])
    codebook = np.concatenate([[0], np.sort(rng.choice(values, (1 << CODE_BITS) - 1, replace=False))])
    return Layer(one.name, rows, columns, rng.integers(1, 1 << CODE_BITS, len(rows)), (one.inputs, one.outputs), codebook,
                 activations(one.inputs, one.drawn_active, seed))


def activations(inputs: int, active: int, seed: int = 1) -> Int64:
    """So many nonzero ones at random places."""
    rng = np.random.default_rng([seed, 1])
    x = np.zeros(inputs, np.int64)
    where = rng.permutation(inputs)[:active]
    x[where] = rng.integers(1, 256, active)
    return x
