"""What every block is outside: an Amaranth component with the streams that its engine's parameters say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from amaranth.hdl import unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.engines.base import Engine

from .constants import Image, Load

Parameters = TypeVar("Parameters", bound=Engine)


class StreamBlock(wiring.Component, Generic[Parameters]):
    """Base of the blocks.

    Parameters
    ----------
    params : Engine
    others : members besides its streams

    Members
    -------
    i : stream of the words that it takes; `i0`, `i1`, ... where there are several
    o : stream of the words that it gives; `o0`, `o1`, ... likewise
    """

    def __init__(self, params: Parameters, **others: Member) -> None:
        self.params = params
        #: Of memories whose contents come while the hardware runs, by the names of `images`.
        self.loads: Mapping[str, Load] = {}
        words_in, words_out = params.words_in, [params.word_out] * params.streams_out
        super().__init__({
            name: flow(stream.Signature(unsigned(word.bits)))
            for stem, flow, words in (("i", In, words_in), ("o", Out, words_out))
            for name, word in zip(port_names(stem, len(words)), words, strict=True)
        } | others)

    @property
    def images(self) -> list[Image]:
        """Contents of the memories that `loads` can fill."""
        return []


def port_names(stem: str, count: int) -> list[str]:
    """Names of `count` ports: the stem alone, or numbered where there are several."""
    return [stem] if count == 1 else [f"{stem}{n}" for n in range(count)]
