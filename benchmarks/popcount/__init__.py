"""LUTs of the XNOR-popcount, against the plain sum."""
