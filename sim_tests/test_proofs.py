"""The bounded set of proofs holds; `make prove` runs all of them."""

from __future__ import annotations

import pytest

from sim_tests.proofs.proof import Proof
from sim_tests.proofs.registry import proofs

PROOFS = proofs()


def test_every_proof_has_a_name_of_its_own() -> None:
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


@pytest.mark.parametrize("proof", [proof for proof in PROOFS if proof.quick], ids=lambda proof: proof.name)
def test_quick_proofs(proof: Proof) -> None:
    outcome = proof.run()
    assert (outcome.result, outcome.reason) == ("proved", "")
