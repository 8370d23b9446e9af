"""Builds small designs below a folder: ``python -m tests.codegen.same_bytes_run FOLDER UMASK NAME...``."""

import os
import sys

from codegen import overlay
from codegen.bundle import build
from hwsim.engines.gemm import Gemm
from intir import unsigned
from tests.codegen.small_designs import DESIGNS

os.umask(int(sys.argv[2], 8))
for name in sys.argv[3:]:
    build(*DESIGNS[name](), f"{sys.argv[1]}/{name}")
overlay.build(Gemm(2, 2, 1, unsigned(8), unsigned(8), 32), f"{sys.argv[1]}/overlay")
