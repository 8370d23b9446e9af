"""The methods of the toolbox by name: what `bitwright compress` runs and compares.

A method is a function from a `Job` to a network.  To add one, write the function in the file of its group and a `Method` in that
file's table.
"""

from __future__ import annotations

from typing import Final

from ..errors import CompressionError
from . import methods_channels, methods_numbers, methods_quantization, methods_search, methods_weights
from .job import Method

#: All of them, in the order in which they are listed.
METHODS: Final = {one.name: one for table in (
    methods_quantization.METHODS, methods_weights.METHODS, methods_channels.METHODS, methods_numbers.METHODS,
    methods_search.METHODS) for one in table}


def method_of(name: str) -> Method:
    """A method by its name.  Raises CompressionError."""
    if name not in METHODS:
        near = [one for one in METHODS if name and (name in one or one in name)]
        raise CompressionError(f"there is no method '{name}'{f'; did you mean {near[0]}?' if near else ''}: `bitwright compress "
                               "--methods` lists them")
    return METHODS[name]
