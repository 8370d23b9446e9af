"""``python -m benchmarks.interop``: networks of other tools, and whether the integers are what they mean.

One row per network: the qonnx package's float execution is compared with the integers, value by value, and where the two
stand for different integers, exact rational arithmetic decides who rounded.  Ends with 1 if the integers are ever wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

_PARSER = argparse.ArgumentParser(prog="python -m benchmarks.interop", description="Networks of other tools, checked.")
_PARSER.add_argument("--count", type=int, default=1000, help="inputs of each network (default 1000)")
_PARSER.add_argument("--large", type=int, default=None,
                     help="images for the files of the wheel (default: as the table says)")
_PARSER.add_argument("--most", type=int, default=1000, help="differing inputs of each that are computed exactly (default 1000)")
_PARSER.add_argument("--only", default="", help="networks whose name holds this")
_PARSER.add_argument("--shared", type=Path, default=Path(os.environ.get("BITWRIGHT_SHARED", Path(__file__).parents[3] / "shared")),
                     help="folder that holds models/")

#: Name, origin, inputs (None: --count), differing inputs computed exactly (None: --most), what makes the model, --input.
Row = tuple[str, str, int | None, int | None, Callable[[], Any], str | None]


def networks(shared: Path) -> Iterator[Row]:
    """Every network of the table."""
    for name in ("TFC_1W1A", "TFC_2W2A"):
        path = shared / "models" / f"{name}.onnx"
        if path.is_file():
            yield name, "QONNX model zoo", None, None, partial(Path, path), "u8/255"
        else:
            print(f"{path} is not there: left out (--shared names the folder)", file=sys.stderr)

    import qonnx

    wheel = Path(qonnx.__file__).parent / "data" / "onnx"
    for name, file, spec, count in (("ESPCN, nn_resize", "bsd300x3-espcn/nn_resize/quant_model.onnx", None, 3),
                                    ("ESPCN, subpixel", "bsd300x3-espcn/subpixel/quant_model.onnx", "u8/255", 3),
                                    ("eltwise", "eltwise_chanlast_testcase.onnx", "u8", 3)):
        yield name, "qonnx wheel", count, 1, partial(Path, wheel, file), spec

    from .models import cnv, convolutional, exported, mlp, mlp_binary, prepared, resnet8

    makes: tuple[tuple[str, Callable[[bool], Any], tuple[int, ...], int | None, int | None], ...] = (
        ("MLP w1a1", mlp_binary, (1, 28, 28), None, None), ("MLP w2a2", mlp, (1, 28, 28), None, None),
        ("conv w4a4", convolutional, (3, 16, 16), None, None), ("ResNet-8 w4a4", resnet8, (3, 32, 32), None, None))
    for name, build, shape, count, most in makes:
        for power_of_two in (True, False):
            model = prepared(partial(build, power_of_two), shape)
            for exporter in ("qonnx", "qcdq"):
                if (name, exporter) != ("MLP w1a1", "qcdq"):  # QCDQ can't say {-1, +1}; Brevitas refuses
                    yield (f"{name}, {'power-of-two' if power_of_two else 'float'} scales", f"Brevitas, {exporter}", count, most,
                           partial(exported, model, exporter, shape, dynamo=False), None)
    for bits in (1, 2):
        model = prepared(partial(cnv, bits), (3, 32, 32))
        for exporter in ("qonnx", "qcdq")[:bits]:
            yield (f"CNV {bits}w{bits}a", f"Brevitas, {exporter}", None, None,
                   partial(exported, model, exporter, (3, 32, 32), dynamo=False), None)


def main(arguments: list[str] | None = None) -> int:
    """Check, print the table, return the exit code."""
    options = _PARSER.parse_args(arguments)
    from rich.console import Console
    from rich.table import Table

    from quant.check import check

    table = Table(title="integers against float execution (qonnx), and against exact arithmetic where those differ")
    for heading in ("network", "origin", "inputs", "values", "float differs", "computed exactly", "exact = integers",
                    "integers wrong", "lowered in", "nodes", "checked in"):
        table.add_column(heading, justify="left" if heading in ("network", "origin") else "right")
    wrong = 0
    for name, origin, count, most, make, spec in networks(options.shared):
        if options.only not in name:
            continue
        model = make()
        started = time.perf_counter()
        inputs = options.count if count is None else options.large or count
        limit = options.most if most is None else most
        result = check(model, input_spec=spec, count=inputs, witnesses=2 if count else 8, most=limit)
        wrong += result.ir_differs
        table.add_row(name, origin, f"{result.inputs:,}", f"{result.values:,}", f"{result.float_differs:,}",
                      f"{result.float_differs - result.undecided:,}", f"{result.exact_agrees:,}", f"{result.ir_differs:,}",
                      f"{result.lower_seconds:.2f} s", str(result.nodes), f"{time.perf_counter() - started:.0f} s")
        print(f"{name} ({origin}): done", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 170).print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
