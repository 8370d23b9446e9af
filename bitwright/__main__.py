"""`python -m bitwright`: the command line."""

from .cli import main

main()
