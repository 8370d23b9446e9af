"""Proofs that a change of the control shell changes nothing: side by side, for all inputs of both the bus and the streams, forever.

No rule of AXI is assumed: the inputs are any bits in any cycle, and a reset may come at any time after the first cycle's.  All
outputs are equal; what an answer of the bus holds, while it is valid.
"""

from __future__ import annotations

from .aig import FALSE, TRUE, Builder, Circuit
from .equivalence import Shared, decided, product

#: Outputs that mean something only while another one is 1.
WHILE = {"s_axi_rdata": "s_axi_rvalid", "s_axi_rresp": "s_axi_rvalid", "s_axi_bresp": "s_axi_bvalid"}


def miter(both: Circuit, mutant: int, copies: int) -> bytes:
    """A circuit whose output is 1 when the mutant shows; see `equivalence.product`."""
    def control(b: Builder, first: int) -> dict[str, int]:
        return {"aclk": FALSE, "aresetn": b.all(first ^ 1, b.input())}

    def rules(b: Builder, first: int, shared: Shared, sides: list[list[int]]) -> tuple[list[int], list[int]]:
        del first, shared
        at = both.output_names
        return [b.all(sides[0][at[WHILE[name], 0]] if name in WHILE else TRUE, b.differ(sides[0][place], sides[1][place]))
                for (name, _), place in at.items()], [TRUE]

    return product(both, mutant, copies, {"aresetn": FALSE}, control, rules)


def prove(title: str, both: Circuit, mutant: int, seconds: float = 60) -> str:
    """As `equivalence.prove`."""
    return decided(title, lambda copies: miter(both, mutant, copies), seconds)
