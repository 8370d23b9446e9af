"""Machines, layers and an energy table to test with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hwsim.systems.actions import Action
from hwsim.systems.machine import Array, Dram, Machine, Sram
from hwsim.systems.work import Product, Tensor, Window, Work, Workload
from intir import IntType

S8 = IntType(-128, 127)


@dataclass(frozen=True)
class Flat:
    """An energy table: every action costs its bits in pJ."""

    name: str = "flat"

    def action_pj(self, action: Action) -> float:
        return float(max(1, action.bits))

    def price(self, counts: Mapping[str, Mapping[Action, float]]) -> dict[str, float]:
        return {component: sum(count * self.action_pj(action) for action, count in of.items()) for component, of in counts.items()}


TABLE: Any = Flat()


def machine(array: Array | None = None, *, kib: float = 256, gb_per_s: float = 16.0, clock_mhz: float = 500.0, **changes: Any) -> Machine:
    """An int8 array of 32 x 32 with three memories."""
    made = Machine("test", "", "", 45, clock_mhz, array or Array("systolic", 32, 32),
                   (Sram("acts", int(kib * 1024), 256, 2, ("activations",)), Sram("weights", int(kib * 1024), 256, 2, ("weights",)),
                    Sram("sums", int(kib * 1024), 1024, 2, ("sums",))),
                   Dram("LPDDR4", gb_per_s), vector_lanes=32)
    return replace(made, **changes)


def conv(name: str = "conv", size: tuple[int, int] = (14, 14), channels: int = 64, filters: int = 64, kernel: tuple[int, int] = (3, 3),
         stride: tuple[int, int] = (1, 1), pad: int = 1, groups: int = 1, dilation: tuple[int, int] = (1, 1), inputs: tuple[str, ...] = ("",),
         a: IntType = S8, w: IntType = S8, **changes: Any) -> Work:
    """A convolution; `size` is its input's."""
    out = [(length + 2 * pad - (k - 1) * d - 1) // s + 1 for length, k, s, d in zip(size, kernel, stride, dilation, strict=True)]
    window = Window(kernel, stride, dilation, size, (out[0], out[1]))
    product = Product(math.prod(out), math.prod(kernel) * channels // groups, filters // groups, groups, window)
    work = Work(name, "product", inputs, (Tensor(math.prod(size) * channels, a),), Tensor(math.prod(out) * filters, a), product,
                Tensor(product.terms * filters, w), IntType(-(2**23), 2**23 - 1), {"compare": math.prod(out) * filters})
    return replace(work, **changes)


def dense(name: str = "fc", terms: int = 512, filters: int = 1000, inputs: tuple[str, ...] = ("",), pixels: int = 1, a: IntType = S8,
          w: IntType = S8) -> Work:
    return Work(name, "product", inputs, (Tensor(terms * pixels, a),), Tensor(filters * pixels, a), Product(pixels, terms, filters),
                Tensor(terms * filters, w), IntType(-(2**23), 2**23 - 1), {"add": filters * pixels})


def network(*works: Work) -> Workload:
    return Workload("net", works, works[0].reads[0])


def resnet18() -> Workload:
    """Its 21 convolutions and dense layers, pooling and joins left out."""
    works = [conv("conv1", (224, 224), 3, 64, (7, 7), (2, 2), 3)]
    size, channels = 56, 64
    for stage, filters in enumerate((64, 128, 256, 512), start=2):
        for block in "ab":
            stride = 2 if block == "a" and stage > 2 else 1
            before = works[-1].name
            if stride == 2:
                works.append(conv(f"conv{stage}_s", (size, size), channels, filters, (1, 1), (2, 2), 0, inputs=(before,)))
            works.append(conv(f"conv{stage}_{block}1", (size, size), channels, filters, stride=(stride, stride), inputs=(before,)))
            size, channels = size // stride, filters
            works.append(conv(f"conv{stage}_{block}2", (size, size), channels, filters, inputs=(works[-1].name,)))
    works.append(dense("fc", 512, 1000, (works[-1].name,)))
    return network(*works)
