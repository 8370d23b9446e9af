"""How strong the benches are: mutants of every block's Verilog, run through the block's bench; `python -m sim_tests.mutants`."""
