"""Binary and ternary layers in place of a trained float network's inner ones: XNOR-Net, BWN, TBN, TWN, TTQ.

The first and the last layer get 8 bits, where the papers leave them in float, for hardware has no float.  Batch norms stay
where they are, and one is put in front of each binary or ternary activation that has none, as in XNOR-Net's blocks
(Rastegari and others, 2016): signs tell nothing of values that are all positive.  For the same reason a ReLU in front of
such an activation goes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from quant.nn import CalibrationError, Observer, QuantizationError, Quantizer
from quant.nn.learned import LSQ
from quant.nn.placement import Placement
from quant.nn.ptq import fit_layer, input_quantizer, quantized_layer
from quant.nn.traced import Kind, Traced

from .errors import CompressionError

END_BITS = 8


def low_bit(network: nn.Module, images: Tensor, weight: Callable[[], Quantizer], activation: Callable[[], nn.Module] | None = None,
            *, input_integers: str | None = None) -> GraphModule:
    """A copy of a network whose inner layers have quantizers of few bits; to be trained on.

    Parameters
    ----------
    network
        Float; as `quant.nn.quantize` takes it.
    images : shape (N, ...)
        To calibrate the 8-bit activations on.
    weight
        Makes the weights' quantizer of an inner layer.
    activation
        Makes the quantizer of an inner layer's input; by default that has 8 bits, with a learned scale.
    input_integers
        As `quant.nn.quantize`.

    Raises
    ------
    CompressionError
        The network has no layer between its first and its last one.
    QuantizationError
        As `quant.nn.quantize`.
    """
    traced = Traced(network, images[:1])
    placement = Placement(traced, Observer)
    inner, ends = inner_layers(network, placement)
    traced.module.recompile()
    with torch.no_grad():
        traced.module(images)
    done = set() if activation is None else _activations(traced, inner, set(placement.watchers), activation)
    for name, watcher in placement.watchers.items():
        if name not in done and traced.module.graph.find_nodes(op="call_module", target=name):
            given = input_integers if name == placement.input else None
            traced.module.set_submodule(name, _eight_bits(name, watcher.observer, given))
    wide = {str(node.target) for node in placement.layers if str(node.target) in ends}
    for name in dict.fromkeys(str(node.target) for node in placement.layers):
        layer = traced.module.get_submodule(name)
        quantizer = fit_layer(layer, END_BITS) if name in wide else weight()  # type: ignore[arg-type]
        traced.module.set_submodule(name, quantized_layer(layer, quantizer))  # type: ignore[arg-type]
    traced.module.delete_all_unused_submodules()
    traced.module.graph.lint()
    traced.module.recompile()
    return traced.module


def inner_layers(network: nn.Module, placement: Placement) -> tuple[list[Node], set[str]]:
    """Where layers of few bits are called, and the names of the first and the last one, which keep 8 bits.

    Raises
    ------
    CompressionError
        There is none between these two.
    """
    ends = {str(node.target) for node in (*placement.layers[:1], *placement.layers[-1:])}
    inner = [node for node in placement.layers if str(node.target) not in ends]
    if not inner:
        raise CompressionError(f"{type(network).__name__} has no layer with weights between its first and its last one, which keep "
                               "8 bits: methods of few bits need a network with three layers or more")
    return inner, ends


def _eight_bits(name: str, observer: Observer, given: str | None) -> Quantizer:
    if given is not None:
        return input_quantizer(given)
    try:
        fitted = observer.quantizer(END_BITS)
    except CalibrationError as error:
        raise QuantizationError(f"`{name}` can't be calibrated: {error}") from None
    return LSQ(END_BITS, signed=fitted.signed, narrow=fitted.narrow, scale=fitted.scale, zero_point=fitted.zero_point)


def _activations(traced: Traced, inner: list[Node], watchers: set[str], make: Callable[[], nn.Module]) -> set[str]:
    """Put low-bit quantizers where inner layers read; which of the placed ones they are."""
    graph, names = traced.module.graph, set(inner)
    done: dict[Node, Node] = {}
    taken: set[str] = set()
    for layer in inner:
        (value,) = layer.all_input_nodes
        if value in done:
            layer.replace_input_with(value, done[value])
            continue
        watched = value
        while str(watched.target) not in watchers and traced.kind(watched) in (Kind.MOVE, Kind.PICK):
            (watched,) = traced.operands(watched)
        # Parts of a concatenation are on its own scale of 8 bits, whoever reads them.
        if str(watched.target) in watchers and _readers(traced, watched) <= names:  # nobody wants 8 bits of it
            source = watched.all_input_nodes[0]
            if _is_relu(traced, source):
                (source,) = traced.operands(source)
            place = str(watched.target)
            with graph.inserting_before(watched):
                normed = source if _is_norm(traced, source) else _called(traced, _norm(source), (source,), source, f"{place}_norm")
            watched.args = (normed,)
            traced.module.set_submodule(place, make())
            taken.add(place)
            for other in _readers(traced, watched):
                done[other.all_input_nodes[0]] = other.all_input_nodes[0]
        else:
            with graph.inserting_before(layer):
                normed = _called(traced, _norm(value), (value,), value, f"{layer.name}_norm")
                done[value] = _called(traced, make(), (normed,), value, f"{layer.name}_quant")
            layer.replace_input_with(value, done[value])
    return taken


def _readers(traced: Traced, watched: Node) -> set[Node]:
    """What computes with a quantizer's values, behind all that only moves them."""
    found: set[Node] = set()
    for user in watched.users:
        found |= _readers(traced, user) if traced.kind(user) in (Kind.MOVE, Kind.PICK) else {user}
    return found


def _is_relu(traced: Traced, node: Node) -> bool:
    owner = traced.owner(node) if node.op == "call_module" else None
    return isinstance(owner, nn.ReLU) or node.target in (torch.relu, nn.functional.relu, "relu")


def _is_norm(traced: Traced, node: Node) -> bool:
    return node.op == "call_module" and isinstance(traced.owner(node), (nn.BatchNorm1d, nn.BatchNorm2d))


def _norm(node: Node) -> nn.Module:
    shape = node.meta["tensor_meta"].shape
    return nn.BatchNorm2d(shape[1]) if len(shape) == 4 else nn.BatchNorm1d(shape[1])


def _called(traced: Traced, module: nn.Module, arguments: tuple[Node, ...], like: Node, name: str) -> Node:
    while hasattr(traced.module, name):
        name += "_"
    traced.module.add_submodule(name, module)
    call = traced.module.graph.call_module(name, arguments)
    call.meta = dict(like.meta)
    return call
