"""Whether a design fits its device, and what to change where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .devices import DEVICES, Device
from .engines.memories import Resources
from .layers import Layer
from .plan import Plan, PlanError

#: Fields of `Resources`, and how people call them.
NAMES = {"luts": "LUTs", "brams": "block RAMs of 18 kbit", "dsps": "DSPs"}


def fits(taken: Resources, device: Device) -> bool:
    """Whether a device has room."""
    return device.room.holds(taken)


def check_fit(plan: Plan, layers: Sequence[Layer], per_layer: Mapping[str, Resources]) -> None:
    """Raise PlanError unless what the layers take fits the device of the plan, if that names one."""
    if plan.device is None:
        return
    device, taken = DEVICES[plan.device], sum(per_layer.values(), Resources())
    for key, name in NAMES.items():
        need, room = getattr(taken, key), getattr(device.room, key)
        if need <= room:
            continue
        layer = max(layers, key=lambda one: getattr(per_layer[one.name], key))
        advice = _advice(plan, layer, key, need - room)
        larger = [one for one in DEVICES.values() if one.family == device.family and fits(taken, one)]
        if larger:
            advice.append(f"choose the device {min(larger, key=lambda one: one.luts).name}")
        raise PlanError(f"the design needs about {need:,} {name}, but {device.name} has room for {room:,}; layer "
                        f"'{layer.name}' takes the most, {getattr(per_layer[layer.name], key):,} with "
                        f"{plan.layers[layer.name].folding}: "
                        f"{', or '.join(advice) or 'plan a lower rate, so that every layer folds more'}")


def _advice(plan: Plan, layer: Layer, key: str, excess: int) -> list[str]:
    """Choices for a layer that save what is too much."""
    entry = plan.layers[layer.name]
    if key == "brams" and "weight_memory" in layer.options:
        return ['keep its weights in LUTs (weight_memory = "distributed")']
    if key == "dsps" and "multiplier" in layer.options:
        return ['multiply in LUTs (multiplier = "logic")']
    most = getattr(layer.resources(entry, plan.family), key) - excess
    smaller = [one for one in layer.foldings() if getattr(layer.resources(one, plan.family), key) <= most]
    if not smaller:
        return []
    best = min(smaller, key=layer.cycles)
    return [f"it fits with {best.folding}, {layer.cycles(best):,} cycles a frame instead of {layer.cycles(entry):,}"]
