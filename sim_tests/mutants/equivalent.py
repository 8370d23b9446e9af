"""Changes that no proof was found for and that still change nothing a user can see, each with its reason."""

from __future__ import annotations

#: Title of the configuration -> change, as it is printed -> reason.
EXCUSES: dict[str, dict[str, str]] = {
    "mvu: integer, pe 3, simd 4, outputs, 15 thresholds": {
        "SRST[0] of the sdffe that drives register_47 stuck at 0":
            "the step's valid bit, delayed to the accumulators: what a reset cuts off may still be added to them in the cycles behind it, ahead "
            "of the next frame, whose first word starts them afresh; the output's own valid bits are reset",
    },
    "fifo: 8 words of 15 bits": {
        "Y[0] of the not that drives $auto$rtlil.cc:3381:Mux$73 [1] inverted":
            "the level counts down where it should count up and the other way round; in four bits -8 is 8, so the queue is full, and empty, "
            "when it should be",
    },
}
