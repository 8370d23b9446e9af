"""What to write into the memories of a design that runs, so that it computes another network of the same structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwsim.design import Design, Stage, make_design
from hwsim.engines.base import Engine
from hwsim.engines.mvu import Mvu
from intir import Graph

from .blocks.mvu import unit_images
from .errors import CodegenError

#: Of a reloadable unit, the types that hold for any of its weights.
_UNIT_TYPES = ("w_type", "acc_type", "threshold_type", "out_type")


def reload_words(design: Design, graph: Graph) -> dict[str, tuple[int, ...]]:
    """The words of every memory that software can write, for another network.

    Parameters
    ----------
    design : Design
        As it was built; some of its layers are reloadable.
    graph : Graph
        Of the same structure, and the same in all that cannot be written.

    Returns
    -------
    name of a memory, as drivers know it -> its words

    Raises
    ------
    CodegenError
        If the network needs other hardware.
    PlanError
        If it is of another structure.
    """
    other = make_design(graph, design.plan)
    words: dict[str, tuple[int, ...]] = {}
    for stage, wanted in zip(design.stages, other.stages, strict=True):
        engine = stage.engine
        if not isinstance(engine, Mvu) or not engine.reloadable:
            if _typed(wanted.engine, engine) != engine or not _same_constants(stage, wanted):
                raise CodegenError(f"layer '{stage.layer}' of '{graph.name}' differs from that of '{design.graph.name}', and is "
                                   "not reloadable; build that network anew")
            continue
        weights = wanted.constants["weights"]
        kind = engine.w_type
        outside = weights[(weights < kind.lo) | (weights > kind.hi) | ((weights - kind.lo) % kind.step != 0)]
        if outside.size:
            raise CodegenError(f"layer '{stage.layer}' of '{graph.name}' has the weight {outside[0]}, but its memory holds {kind}; "
                               "build that network anew")
        if _typed(wanted.engine, engine) != engine:
            raise CodegenError(f"layer '{stage.layer}' of '{graph.name}' needs another unit than '{design.graph.name}' has; "
                               "build that network anew")
        words |= {f"{stage.name}_{image.name}": image.words for image in unit_images(engine, **wanted.constants)}
    return words


def _typed(engine: Engine, like: Engine) -> Engine:
    """An engine with the types of another, where those follow from weights that can be written."""
    if type(engine) is not type(like):
        return engine
    names = _UNIT_TYPES if isinstance(engine, Mvu) and engine.reloadable else ("type",)
    changed = {name: getattr(like, name) for name in names if hasattr(engine, name)}
    return replace(engine, **changed)


def _same_constants(stage: Stage, other: Stage) -> bool:
    return stage.constants.keys() == other.constants.keys() and \
        all(np.array_equal(value, other.constants[name]) for name, value in stage.constants.items())
