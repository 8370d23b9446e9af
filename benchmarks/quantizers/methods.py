"""The methods: how each quantizes the one topology."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from quant.nn import (
    HWGQ,
    LSQ,
    PACT,
    AbcConv2d,
    AbcLinear,
    AdderConv2d,
    AdderLinear,
    BipolarQuant,
    DoReFaActivation,
    DoReFaSign,
    DoReFaWeight,
    DynamicFixedPoint,
    HorqConv2d,
    HorqLinear,
    IntQuant,
    ScaledBipolarQuant,
    SharedQuant,
    StochasticQuant,
    TernaryQuant,
    TtqQuant,
    TwnQuant,
    XnorConv2d,
    XnorLinear,
    pact_penalty,
    quantize,
    share_weights,
)
from quant.nn.layers import QuantWeights

from .network import FLOAT, DigitsNet, Layers, weights

Make = Callable[[], nn.Module]
#: From the trained float network and images (N, 1, 28, 28), pixel / 255, to a quantized network.
Convert = Callable[[DigitsNet, Tensor], nn.Module]


def learned(bits: int) -> Layers:
    """Weights of some bits, one learned scale for a layer."""
    return weights(lambda: LSQ(bits, narrow=True, weight=True))


#: Where a paper leaves the first and the last layer in float, they have 8 bits here, for hardware has no float.
EIGHT = learned(8)
#: Unsigned, so it is the ReLU, too.
eight_bit_relu = partial(LSQ, 8, signed=False)


@dataclass(frozen=True)
class Method:
    """One row.

    Members
    -------
    name, source
        The method, and who described it.
    weight_bits, activation_bits
        Of the inner layers, for people.
    build
        Makes the network that is trained from scratch.
    convert
        Instead: makes it of the trained float network.
    tuned
        Whether what `convert` made is trained, for a third of the epochs.
    penalty
        Of the network, added to the loss.
    """

    name: str
    source: str
    weight_bits: str
    activation_bits: str
    build: Callable[[], nn.Module] | None = field(default=None, repr=False)
    convert: Convert | None = field(default=None, repr=False)
    tuned: bool = True
    penalty: Callable[[nn.Module], Tensor] | None = field(default=None, repr=False)


def everywhere(layers: Layers, activation: Make = eight_bit_relu) -> Callable[[], DigitsNet]:
    """The method in every layer."""
    return lambda: DigitsNet(layers, layers, activation, activation)


def inside(layers: Layers, activation: Make = eight_bit_relu) -> Callable[[], DigitsNet]:
    """The method in the inner layers, 8 bits at both ends."""
    return lambda: DigitsNet(layers, EIGHT, activation, eight_bit_relu)


def calibrated(**options: Any) -> Convert:
    """`quant.nn.quantize` with its options."""
    return lambda network, images: quantize(network, images[:1], images, input_integers="u8/255", **options)


def dynamic_fixed_point(network: DigitsNet, images: Tensor) -> nn.Module:
    """Ristretto: each layer's and each activation's format from the greatest magnitude in it."""
    quantized = quantize(network, images[:1], images, input_integers="u8/255", per_channel=False, method="minmax")
    pixels = next(part for part in quantized.modules() if isinstance(part, IntQuant))
    for part in list(quantized.modules()):
        if isinstance(part, QuantWeights):
            part.weight_quant = DynamicFixedPoint.from_range(8, float(part.weight.detach().abs().max()))
    for name, part in list(quantized.named_modules()):
        if type(part) is IntQuant and part is not pixels:
            quantized.set_submodule(name, DynamicFixedPoint.from_range(8, float(part.highest * part.scale), signed=part.signed))
    return quantized


def shared(network: DigitsNet, images: Tensor) -> nn.Module:
    """Deep Compression's shared weights: cluster the float network's."""
    result = everywhere(weights(partial(SharedQuant, 16)))()
    result.load_state_dict(network.state_dict(), strict=False)
    share_weights(result)
    return result


XNOR = Layers(XnorConv2d, XnorLinear)
XNOR_K = Layers(lambda *sizes, **options: XnorConv2d(*sizes, input_scale=True, input_quant=LSQ(8), **options), XnorLinear)
HORQ = Layers(HorqConv2d, HorqLinear)
ABC = Layers(lambda *sizes, **options: AbcConv2d(*sizes, weight_bases=3, input_bases=3, **options), AbcLinear)
ADDER = Layers(lambda *sizes, **options: AdderConv2d(*sizes, quant=IntQuant(8, scale=2.0**-5), **options),
               lambda *sizes: AdderLinear(*sizes, quant=IntQuant(8, scale=2.0**-5)))
STOCHASTIC = weights(partial(StochasticQuant, 8, scale=2.0**-7))

METHODS = (
    Method("float", "", "32", "32", lambda: DigitsNet(FLOAT, FLOAT, nn.ReLU, nn.ReLU, pixels=nn.Identity())),
    # The slowest one starts first.
    Method("AdderNet", "Chen 2020", "8", "8", inside(ADDER, nn.ReLU)),
    Method("BinaryConnect", "Courbariaux 2015", "1", "8", everywhere(weights(BipolarQuant))),
    Method("BNN", "Hubara 2016", "1", "1", everywhere(weights(BipolarQuant), BipolarQuant)),
    Method("BWN", "Rastegari 2016", "1", "8", inside(weights(ScaledBipolarQuant))),
    Method("XNOR-Net", "Rastegari 2016", "1", "1", inside(XNOR, nn.Identity)),
    Method("XNOR-Net with K", "Rastegari 2016", "1", "1, K 8", inside(XNOR_K, nn.Identity)),
    Method("TWN", "Li 2016", "2", "8", everywhere(weights(TwnQuant))),
    Method("TTQ", "Zhu 2017", "2", "8", inside(weights(TtqQuant))),
    Method("TBN", "Wan 2018", "1", "2", inside(weights(ScaledBipolarQuant), TernaryQuant)),
    Method("HORQ order 2", "Li 2017", "1", "2 x 1", inside(HORQ, partial(LSQ, 8))),
    Method("ABC-Net 3 x 3", "Lin 2017", "3 x 1", "3 x 1", inside(ABC, nn.Identity)),
    Method("DoReFa 1/1", "Zhou 2016", "1", "1", inside(weights(DoReFaSign), partial(DoReFaActivation, 1))),
    Method("DoReFa 2/2", "Zhou 2016", "2", "2", inside(weights(partial(DoReFaWeight, 2)), partial(DoReFaActivation, 2))),
    Method("DoReFa 4/4", "Zhou 2016", "4", "4", inside(weights(partial(DoReFaWeight, 4)), partial(DoReFaActivation, 4))),
    Method("HWGQ", "Cai 2017", "1", "2", inside(weights(ScaledBipolarQuant), partial(HWGQ, 2))),
    Method("LSQ 2/2", "Esser 2020", "2", "2", inside(learned(2), partial(LSQ, 2, signed=False))),
    Method("LSQ 4/4", "Esser 2020", "4", "4", inside(learned(4), partial(LSQ, 4, signed=False))),
    Method("PACT 4/4", "Choi 2018", "4", "4", inside(weights(partial(DoReFaWeight, 4)), partial(PACT, 4)),
           penalty=lambda network: 1e-3 * pact_penalty(network)),
    Method("stochastic rounding", "Gupta 2015", "8", "8",
           everywhere(STOCHASTIC, partial(StochasticQuant, 8, signed=False, scale=2.0**-6))),
    Method("int8 PTQ, min-max", "Jacob 2018", "8", "8", convert=calibrated(method="minmax"), tuned=False),
    Method("int8 PTQ, percentile", "Wu 2020", "8", "8", convert=calibrated(method="percentile"), tuned=False),
    Method("int8 PTQ, squared error", "Sung 2015", "8", "8", convert=calibrated(method="mse"), tuned=False),
    Method("int4 PTQ, min-max", "Jacob 2018", "4", "4", convert=calibrated(weight_bits=4, activation_bits=4, method="minmax"),
           tuned=False),
    Method("int4 PTQ, percentile", "Wu 2020", "4", "4", convert=calibrated(weight_bits=4, activation_bits=4, method="percentile"),
           tuned=False),
    Method("int4 PTQ, squared error", "Sung 2015", "4", "4", convert=calibrated(weight_bits=4, activation_bits=4, method="mse"),
           tuned=False),
    Method("int8 affine, per tensor", "Jacob 2018", "8", "8", convert=calibrated(per_channel=False, symmetric=False)),
    Method("int8 affine, per channel", "Krishnamoorthi 2018", "8", "8", convert=calibrated(symmetric=False)),
    Method("int4, per channel", "Krishnamoorthi 2018", "4", "4", convert=calibrated(weight_bits=4, activation_bits=4)),
    Method("int8, power-of-two scales", "", "8", "8", convert=calibrated(power_of_two=True)),
    Method("dynamic fixed point", "Gysel 2018", "8", "8", convert=dynamic_fixed_point),
    Method("k-means, 16 codes", "Han 2016", "4 (16-bit entries)", "8", convert=shared),
)
