"""The semantics by name."""

from __future__ import annotations

from typing import Final

from .errors import LoweringError
from .semantics import EXACT, Semantics
from .semantics_onnxruntime import OnnxRuntime, OnnxRuntimeInt8
from .semantics_tflite import TfLite, TfLiteSingle

_ALL = (EXACT, OnnxRuntime(), OnnxRuntimeInt8(), TfLite(), TfLiteSingle())
SEMANTICS: Final[dict[str, Semantics]] = {one.name: one for one in _ALL}


def semantics_of(name: str) -> Semantics:
    """The semantics of that name.

    Raises
    ------
    LoweringError
        If there are none.
    """
    if name not in SEMANTICS:
        raise LoweringError(f"the semantics '{name[:40]}' are unknown; choose one of {', '.join(SEMANTICS)}")
    return SEMANTICS[name]
