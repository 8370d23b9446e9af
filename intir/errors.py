"""Errors of the integer-only IR.

Every error that bitwright raises for a user's input descends from `BitwrightError`: its text is one sentence that
says what is wrong, where, with which value, and how to mend it.  The command line prints it and exits with 2.
"""


class BitwrightError(Exception):
    """Base of all errors that a user's input can cause."""


class GraphError(BitwrightError):
    """A graph breaks a rule of the IR: a shape, a type, a range, a name, the order of its nodes."""


class FileFormatError(BitwrightError):
    """A file is not what its name or header promises: truncated, corrupted, of another version."""
