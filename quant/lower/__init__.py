"""Lowering of QONNX networks to the integer-only IR, exactly.

Every float constant is the exact rational that it is, and the IR computes what the graph means in real arithmetic.
Where things are:

- `load`       reading a file without trusting it
- `network`    the walk over the nodes; `lower` and `explain`
- `tensors`    what is known of a tensor: constant, or integers with an exact meaning and a chain of real functions
- `node`       the tables operator -> handler; a new operator is a decorated function in one of:
  `quantizers`, `rounding`, `trunc`, `elementwise`, `smooth`, `curves`, `products`, `conv`, `pools`, `reductions`, `distance`,
  `moves`, `images`, `joins`, `decide`, `qdq`, `fold` (constants)
- `qlinear`, `qjoins`  QLinear operators
- `semantics*`, `runtimes`  whose arithmetic they have; `fuse`, `fusegraph`  which nodes of a QDQ model a runtime fuses to them
- `leftovers`, `qfloat`  what onnxruntime leaves in float32 between 8-bit integers
- `chain`      exact element-wise functions; `steps` quantizers as step functions; `close` brings both to thresholds, on what
  `columns` knows of each channel; `tabulate` where the functions are not monotone; `oneint` joins of functions of one integer
- `realise`    functions made part of the integers where no quantizer follows; `requant` the least exact multiplier
- `grid`       weights as integers
- `layout`     channels first to channels last
- `host`       a host's side: floats or images to the integers of a graph's input
"""

from .context import Record
from .errors import LoweringError, Problem
from .host import host_input
from .network import LoweredNetwork, explain, lower

__all__ = ["LoweredNetwork", "LoweringError", "Problem", "Record", "explain", "host_input", "lower"]
