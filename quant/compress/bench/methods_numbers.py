"""Methods that make weights of fewer numbers: shared values, hashes, circulant blocks, low ranks."""

from __future__ import annotations

from functools import partial
from typing import Final

import torch
from torch import nn

from quant.nn import SharedQuant, share_weights
from quant.nn.layers import QuantWeights

from ..deep import deep_compress
from ..errors import CompressionError
from ..lowrank.decompose import Method as Form
from ..lowrank.factors import lowrank
from ..networks import LAYERS, TRANSPOSED
from ..sharing.circulant import make_circulant
from ..sharing.codes import entries_of, finish_sharing, shared_layers
from ..sharing.datafit import fit_to_data
from ..sharing.hashed import hash_weights
from ..sharing.productquant import product_quantize
from .job import Budget, Job, Made, Method
from .methods_weights import DENSITIES, ROUNDS

#: With 0, 16 values of 4 bits, as EIE has them.
SPARSE_CODES: Final = 15
ENTRY_BITS: Final = 8
SUBVECTOR: Final = 4


def shared(job: Job) -> nn.Module:
    """A codebook for each layer by k-means, whose entries are then trained."""
    result = job.quantized(job.network, per_channel=False, power_of_two=True)
    for name, layer in list(result.named_modules()):
        if isinstance(layer, QuantWeights):
            result.set_submodule(f"{name}.weight_quant", SharedQuant(int(job.left), entry_bits=ENTRY_BITS))
    share_weights(result)
    return job.tune(result)


def deep_compression(job: Job) -> nn.Module:
    """Pruned in rounds, then shared; Huffman coding is in how it is stored."""
    rounds = iter(range(ROUNDS))

    def retrain(network: nn.Module) -> None:
        if next(rounds, None) is None:
            job.tune(network)
        else:
            job.retrain(network, epochs=job.part_of_epochs(1 / ROUNDS))

    return deep_compress(job.network, job.images, retrain, density=job.left, codes=SPARSE_CODES, entry_bits=ENTRY_BITS,
                         rounds=ROUNDS, scope="global", per_channel=False, power_of_two=True,
                         input_integers=job.data.input_integers)


def hashed(job: Job) -> Made:
    """HashedNets: weights share parameters by a hash."""
    return _plain(job, job.retrain(hash_weights(job.network, job.left, seed=job.seed)))


def circulant(job: Job) -> Made:
    """Blocks of weights that hold one number for each wrapped diagonal."""
    block = round(1 / job.left)
    if block < 2 or abs(block * job.left - 1) > 1e-6:
        raise CompressionError(f"a circulant block of side n leaves 1 / n of its weights: give --density 0.5, 0.25, 0.125, ..., "
                               f"not {job.left:g}")
    return _plain(job, job.retrain(make_circulant(job.network, block)))


def product(job: Job) -> Made:
    """Codes for four weights each, their values fitted to the layers' outputs, then trained."""
    coded = product_quantize(job.network, subvector=SUBVECTOR, entries=int(job.left), seed=job.seed)
    fitted = fit_to_data(coded, job.network, job.images)
    return _plain(job, job.tune(fitted))


@torch.no_grad()
def _plain(job: Job, network: nn.Module) -> Made:
    """Round the numbers that weights are made of to 8 bits, write the weights out, and count the numbers and their codes."""
    bits, counted = 0, set[str]()
    most = (1 << ENTRY_BITS - 1) - 1
    for name, layer, sharing in shared_layers(network):
        entries = entries_of(layer)
        scale = float(entries.abs().max()) / most
        if scale > 0:
            entries.copy_(torch.round(entries / scale) * scale)
        bits += ENTRY_BITS * sharing.parameters_stored + 32 + sharing.code_bits
        counted.add(name)
    plain = finish_sharing(network)
    bits += sum(8 * layer.weight.numel() for name, layer in plain.named_modules()
                if isinstance(layer, (*LAYERS, *TRANSPOSED)) and name not in counted)
    return Made(job.quantized(plain), bits)


def _low_rank(job: Job, form: Form) -> nn.Module:
    return job.retrain(lowrank(job.network, form, keep=job.left, of="macs", example_input=job.images[:1], seed=job.seed))


def _low_rank_outputs(job: Job) -> nn.Module:
    return job.retrain(lowrank(job.network, keep=job.left, of="macs", example_input=job.images[:1], images=job.images))


RANKS: Final = Budget("macs", (0.7, 0.5, 0.35, 0.25), 0.5)
METHODS: Final = (
    Method("sharing", "shared weights", "k-means codebooks, entries trained", "Han 2016", shared,
           Budget("codes", (64, 32, 16, 8, 4), 16, 2, 256)),
    Method("deep-compression", "shared weights", "pruned, 15 shared values a layer, Huffman coded", "Han 2016", deep_compression,
           DENSITIES, coded=True),
    Method("hashed", "shared weights", "HashedNets: weights share numbers by a hash", "Chen 2015", hashed,
           Budget("density", (0.5, 0.25, 0.125, 0.0625), 0.125)),
    Method("circulant", "shared weights", "block-circulant weights", "Cheng 2015, Ding 2017", circulant,
           Budget("density", (0.5, 0.25, 0.125), 0.25)),
    Method("product", "shared weights", "codes for 4 weights each", "Gong 2014, Wu 2016", product,
           Budget("codes", (256, 64, 16), 64, 1, 65536)),
    Method("svd", "low rank", "two thin layers for one", "Denton 2014, Zhang 2015", partial(_low_rank, form="channel"), RANKS),
    Method("outputs", "low rank", "the same, by the layers' outputs", "Zhang 2015", _low_rank_outputs, RANKS),
    Method("spatial", "low rank", "k x 1 and 1 x k convolutions", "Jaderberg 2014", partial(_low_rank, form="spatial"), RANKS),
    Method("tucker", "low rank", "1x1, small k x k, 1x1 convolutions", "Kim 2016", partial(_low_rank, form="tucker"), RANKS),
    Method("cp", "low rank", "four thin convolutions", "Lebedev 2015", partial(_low_rank, form="cp"), RANKS),
)
