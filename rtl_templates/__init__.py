"""Jinja2 templates of Verilog, benches and documents; logic stays in `codegen`."""
