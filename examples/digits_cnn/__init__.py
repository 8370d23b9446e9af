"""A small float CNN on the digits, to be quantized: see README.md."""
