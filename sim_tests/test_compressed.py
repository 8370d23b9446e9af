"""What each kind of compression leaves is a network that the whole path takes: lowered, planned, built and co-verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwsim.autoplan import auto_plan
from hwsim.engines.eie import Eie
from quant.compress.bench.data import load
from quant.compress.bench.integers import to_integers
from quant.compress.bench.job import Job, Search
from quant.compress.bench.methods import METHODS, method_of
from quant.compress.bench.models import Model, load_model
from quant.lower import lower
from quant.nn import export_qonnx, quantize
from sim_tests.harness import co_verify
from tests.bitwright import compress_net
from tests.bitwright.test_compress import Sizes
from tests.quant.compress.test_blocks import BLOCKS, network_of

#: The others leave a network of the same structure as one of these: weights of 8 bits, some of them 0, or fewer channels.
BUILT = ("int8", "lsq", "ttq", "bwn", "xnor", "tbn", "deep-compression", "pattern", "lasso", "slimming", "sharing", "hashed", "circulant",
         "product", "svd", "spatial", "tucker", "cp", "haq")


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(f"{compress_net.__file__}:trained")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_built(name: str, model: Model, tmp_path: Path) -> None:
    """Those of `BUILT` to the last bit and cycle; of the others, the plan."""
    method = method_of(name)
    data = load(compress_net.write(tmp_path))
    job = Job(model, data, None if method.budget is None else method.budget.default, epochs=1, hardware=Sizes(),
              search=Search(trials=3))
    graph = to_integers(job, method.run(job)).graph
    plan = auto_plan(graph, sparse=4 if name == "deep-compression" else None)
    if name in BUILT:
        bundle, _ = co_verify(graph, plan, tmp_path, frames=2)
        assert any(isinstance(stage.engine, Eie) for stage in bundle.design.stages) == (name == "deep-compression")


@pytest.mark.parametrize("name", BLOCKS)
def test_compact_blocks_are_built(name: str, tmp_path: Path) -> None:
    """Each with statistics in its batch norms, between convolutions, to the last bit and cycle."""
    network, x = network_of(BLOCKS[name])
    quantized = quantize(network.eval(), x[:1], x)
    export_qonnx(quantized, x[:1], tmp_path / "network.onnx")
    graph = lower(tmp_path / "network.onnx").graph
    co_verify(graph, auto_plan(graph), tmp_path, frames=2)
