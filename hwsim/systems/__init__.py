"""Whole accelerators with off-chip memory: machines, what a network asks of them, and what a run takes.

`work` says what a network asks, `machine` what there is, `report` what came of it.  Cycle-approximate, at the granularity of
tiles; designs that are generated are simulated exactly by `hwsim.design` instead.
"""
