"""The commands, grouped by what they work on; `bitwright.cli` imports them all."""
