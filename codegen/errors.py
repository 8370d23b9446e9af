"""Errors of code generation, co-verification and external tools."""

from intir import BitwrightError


class CodegenError(BitwrightError):
    """Hardware cannot be generated as asked."""


class ToolError(BitwrightError):
    """An external tool (Yosys, Verilator, cocotb) is missing or fails."""


class BundleError(BitwrightError):
    """A bundle folder cannot be written, or is not what a build made."""
