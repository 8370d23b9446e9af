"""Small files that claim large things: refused, or verified, within a second or two and a gigabyte."""


from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = "intir 1 hostile\n"
GRAPHS = {
    "channels": "input x (2147483648,) u8\noutput x\n",
    "many channels": "".join(f"input x{i} (16000000,) u8\n" for i in range(9)) + "output x0\n",
    "reshape": "input x (8191, 8192) u8\nnode y (8192, 8191) u8 = Reshape(x) to=[8192,8191]\noutput y\n",
    "transpose": "input x (8191, 8192) u8\nnode y (8192, 8191) u8 = Transpose(x) perm=[1,0]\noutput y\n",
    "topk": "input x (4000000,) u8\nnode y (5,) [0, 3999999] = TopK(x) k=5\noutput y\n",
    "topk k": "input x (4000000,) u8\nnode y (4000000,) [0, 3999999] = TopK(x) k=4000000\noutput y\n",
    "lookup": "input x (4000000,) u1\nnode y (4000000,) [3, 4] = Lookup(x) table=[[3,4]] domain=\"u1\"\noutput y\n",
    "threshold": "input x (4000000,) u8\nnode y (4000000,) u8 = Threshold(x) thresholds=[[" + ",".join(map(str, range(255)))
                 + "]] out=\"u8\"\noutput y\n",
    "scale": "input x (4000000,) u1\nnode y (4000000,) u1 = ScaleChannels(x) multiplier=[1] offset=[0]\noutput y\n",
    "pool": "input x (1024, 1024, 64) u1\nnode y (1024, 1024, 64) [0, 1048576] = SumPool2d(x) kernel=[1024,1024] stride=[1,1] dilation=[1,1] "
            "pads=[511,511,512,512] pad_value=0\noutput y\n",
    "pool kernel": "input x (2, 2, 1) u1\nnode y (1, 1, 1) [0, 4] = MaxPool2d(x) kernel=[2147483648,2147483648] stride=[1,1] dilation=[1,1] "
                   "pads=[2147483648,2147483648,2147483648,2147483648]\noutput y\n",
    "conv pads": "input x (2, 2, 1) u1\nnode y (2147483648, 1, 1) u1 = Conv2d(x) weights=[[[[1]]]] stride=[1,1] dilation=[1,1] "
                 "pads=[2147483646,0,0,0] pad_value=0 groups=1\noutput y\n",
    "upsample": "input x (2, 2, 1) u1\nnode y (1, 1, 1) u1 = Upsample(x) factor=[2147483648,2147483648]\noutput y\n",
    "pad": "input x (2,) u1\nnode y (2147483648,) u1 = Pad(x) before=[2147483646] after=[0] value=0\noutput y\n",
    "global": "input x (2147483648, 1) [0, 4611686018427387903]\nnode y (1,) u8 = GlobalSumPool(x)\noutput y\n",
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_small_file_cannot_ask_for_much(name: str) -> None:
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
            "from intir import BitwrightError; from intir.text import loads\n"
            "try: loads(sys.stdin.read())\n"
            "except BitwrightError as error: print(error)\n")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], input=HEAD + GRAPHS[name], capture_output=True, text=True, timeout=30,
                            env=environment, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
