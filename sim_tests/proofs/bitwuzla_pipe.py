"""SMT-LIB from standard input to Bitwuzla, whose wheel has a Python binding but no program; `solver` calls it `bitwuzla`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TextIO

import bitwuzla

#: Answers `--help` as SymbiYosys's driver wants to see it: which options there are.
HELP = "usage: bitwuzla [--lang smt2] [--produce-models]"


def commands(stream: TextIO) -> Iterator[str]:
    """The commands of a script, each as soon as its last parenthesis is there."""
    text, depth = "", 0
    for line in stream:
        code = line.split(";", 1)[0]
        text, depth = text + code, depth + code.count("(") - code.count(")")
        if depth == 0 and text.strip():
            yield text.strip()
            text = ""


def main() -> None:
    """Run all commands."""
    if "--help" in sys.argv:
        print(HELP)
        return
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    for command in commands(sys.stdin):
        word = command.strip("()").split()
        if word[0] == "exit":
            return
        if word[0] in ("push", "pop"):  # the parser miscounts its own
            getattr(parser.bitwuzla(), word[0])(int(word[1]) if len(word) > 1 else 1)
        elif word[0] == "set-option":
            continue
        else:
            parser.parse(command, False, False)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
