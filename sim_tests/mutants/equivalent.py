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
    "eie: 8, 6 and 4 neurons on 2 elements, requantized": {
        "D[2] (wire _089_[2]) of the sdffe that drives scan_following inverted where bit 0 is 1":
            "the next word to be scanned goes 0, 5, 6, 3, 4 instead of 0 to 4: its low two bits, the address, are the same, and the ends, 3 and 4, come "
            "after as many",
        "Y[0] (wire _051_[0]) of the and that drives _051_ stuck at 0":
            "bank 0 of the activations would take an inner layer's results while bank 1 is read: with two layers, bank 1 is read by the last one only",
        "D[0] (wire _088_[0]) of the sdff that drives scan_used inverted where bit 1 is 1":
            "which of a word's two elements are done: the second is done last, and then the register is cleared",
    },
    "linebuffer: 3 x 3 taps of 5 x 4 pixels, padded": {
        "D[1] (wire _08_[1]) of the sdffe that drives row inverted where bit 2 is 1":
            "rows go 0, 1, 2, 3, 6, 5, 4, 7: what is looked for is 7, and whether a row is 2 or more, 3 or more, 6 or less",
        "D[1] (wire _19_[1]) of the sdffe that drives rows_port_66_0 inverted where bit 2 is 0":
            "the address of the kept rows goes 0, 3, 4, 2, 1 round instead of 0 to 4: all five words, in an order that is the same each time",
    },
}
