"""Proofs about the Verilog that codegen generates; `make prove` runs them, docs/proofs.md says what they show."""
