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
    "vvu: 9 taps of 4 channels, pe 2, 3 thresholds": {
        "Y[3] (wire _33_[3]) of the add that drives _33_ stuck at 1":
            "the counter of the taps goes 0, 9, 10, .. 15, 8 instead of 0 to 8: nine values, of which only 0, the first, and 8, the last, are looked for",
        "A[1] (wire _33_[1]) of the mux that drives _34_ inverted":
            "the counter of the taps goes 0, 3, 6, 5, 4, 7, 10, 9, 8: nine values from 0 to 8, too",
        "Y[3] (wire _33_[3]) of the add that drives _33_ inverted where bit 1 is 0":
            "the counter of the taps goes 0, 9, 10, 11, 4, 13, 14, 15, 8: nine values from 0 to 8, too",
        "SRST[0] of the sdffe that drives register_33 stuck at 0":
            "the step's valid bit, delayed to the accumulators, as in the mvu",
    },
    "linebuffer: 3 x 3 taps of 5 x 4 pixels, padded": {
        "D[1] (wire _08_[1]) of the sdffe that drives row inverted where bit 2 is 1":
            "rows go 0, 1, 2, 3, 6, 5, 4, 7: what is looked for is 7, and whether a row is 2 or more, 3 or more, 6 or less",
        "D[1] (wire _19_[1]) of the sdffe that drives rows_port_66_0 inverted where bit 2 is 0":
            "the address of the kept rows goes 0, 3, 4, 2, 1 round instead of 0 to 4: all five words, in an order that is the same each time",
    },
    "window: 2 x 2 taps of 3 x 4 pixels, padded": {
        "Q[0] (wire place0[0]) of the sdffe that drives place0 inverted":
            "the number of a row is off by one: -2 or -1 for -1, 0 or 1 for 0, 2 or 3 for 2; only whether it is negative is looked at",
        "A[0] (wire place0[0]) of the add that drives _029_ inverted where bit 1 is 1":
            "the number of a row is now and then off by one: -2 for -1, 3 for 2; only whether it is negative is looked at",
        "A[0] (wire place1[0]) of the add that drives _034_ inverted":
            "the number of a column is now and then off by one: 1 for 0, 0 for 1, -3 for -4; only its sign is looked at",
    },
    "eie: 8, 6 and 4 neurons on 2 elements, requantized": {
        "A[4] (wire post0.product0[4]) of the shl that drives post0.aligned0 inverted where bit 3 is 1":
            "both bits lie below the half that is rounded, which is bit 5, 6 or 7 for shifts of 6 to 8; there it only matters "
            "whether any bit is 1, and bit 3 is",
    },
    "eie: 5, 6 and 4 neurons on 2 elements, weights loaded": {
        "B[0] (wire _116_[0]) of the and that drives _117_ stuck at 1":
            "at the end of a layer's scan one more word of the activations is read, and none of its lanes is marked as used; no "
            "word is looked at until the next scan reads its first one and marks anew",
        "A[1] of the reduce_or that drives pe1._20_ stuck at 1":
            "padding is added as what the codebook says of code 0, which is 0 in every codebook (hwsim/engines/csc.py); the proof "
            "is over any words that are loaded, other codebooks too",
    },
    "eie: 6 and 6 neurons on 2 elements, weights loaded": {
        "B[0] (wire _058_[0]) of the and that drives _059_ inverted":
            "an element's sum is cleared when its neighbour's leaves instead of when it leaves itself: a word later, ahead of the "
            "next row and of the next layer",
        "A[1] of the eq that drives _006_ stuck at 1":
            "words of the first memories are written into those that are loaded last, too, which get all of their own words later "
            "in the same loading, ahead of any frame",
        "SRST[0] of the sdff that drives pe0.valid_57 stuck at 0":
            "what a reset cuts off reaches the sums in the third cycle behind it, in which they are still being cleared",
    },
}
