"""Errors of the lowering."""

from __future__ import annotations

from dataclasses import dataclass

from intir.errors import BitwrightError


class LoweringError(BitwrightError):
    """A network can't be lowered: one sentence with what is wrong, where, with which value, and how to mend it."""


@dataclass(frozen=True)
class Problem:
    """One reason why a network can't be lowered.

    Parameters
    ----------
    node : str
        Name of the ONNX node (or of the graph's input or output) at fault; empty if the file as a whole is.
    op_type : str
        The node's operator; empty if `node` is no node.
    message : str
        One sentence, the node's name included.
    """

    node: str
    op_type: str
    message: str

    def __str__(self) -> str:
        return self.message
