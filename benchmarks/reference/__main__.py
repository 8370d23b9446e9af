"""``python -m benchmarks.reference``: one run, side by side, images per second.

Three executors compute the same outputs for the same images, which is checked first: `intir.run`, the qonnx package's
own executor, and an unmodified onnxruntime on the IR's ONNX export.  Rounds are interleaved and the best of each is
taken, so that a disturbed machine disturbs all alike.  Ours and onnxruntime use the same number of threads, by default
one per core; qonnx starts its own sessions, which use all cores.  qonnx runs the model as exported, with a batch of one; a row
without a bound shows it on a model rebuilt for a batch.

Ends with 1 if a bound is missed: 100 times qonnx on both networks, onnxruntime's integer kernels on the CNV.
"""


from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_PARSER = argparse.ArgumentParser(prog="python -m benchmarks.reference", description="Images per second, side by side.")
_PARSER.add_argument("--threads", type=int, default=os.cpu_count() or 1,
                     help="threads of every executor (default: all cores, as qonnx has)")
_PARSER.add_argument("--rounds", type=int, default=9, help="interleaved rounds, of which the best counts (default 9)")
_PARSER.add_argument("--shared", type=Path, default=Path(os.environ.get("BITWRIGHT_SHARED", Path(__file__).parents[3] / "shared")),
                     help="folder that holds models/TFC_1W1A.onnx")

#: Network -> (images per round, rival -> least ratio).
BOUNDS = {"TFC": (8192, {"qonnx": 100.0}), "CNV": (128, {"qonnx": 100.0, "onnxruntime": 1.0})}


def best(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The shortest time in seconds of each, over interleaved rounds."""
    seconds = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table, return the exit code."""
    options = _PARSER.parse_args(arguments)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before numpy is imported: the reference runs chunks side by side instead

    import numpy as np
    import onnxruntime
    from qonnx.core import onnx_exec
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes
    from rich.console import Console
    from rich.table import Table

    import intir
    from intir.onnx_export import to_onnx

    from .models import Case, cnv, tfc

    make_model = onnx_exec.qonnx_make_model

    def make_readable_model(*args: object, **kwargs: object) -> object:
        """qonnx's one-node models, in an IR version that the installed onnxruntime reads."""
        model = make_model(*args, **kwargs)
        model.ir_version = 10
        return model

    onnx_exec.qonnx_make_model = make_readable_model

    def qonnx_runner(case: Case, batch: int) -> Callable[[], np.ndarray]:
        model = ModelWrapper(case.qonnx(batch)).transform(InferShapes())
        source, result = model.graph.input[0].name, model.graph.output[0].name
        _, floats = case.images(batch)
        return lambda: np.asarray(onnx_exec.execute_onnx(model, {source: floats})[result])

    table = Table(title=f"images per second, {options.threads} thread(s) (qonnx: all cores), "
                        f"best of {options.rounds} interleaved rounds")
    for heading in ("network", "executor", "batch", "images/s", "ours is faster by", "bound", ""):
        table.add_column(heading, justify="left" if heading in ("network", "executor") else "right")
    missed = 0
    for short, case in (("TFC", tfc(options.shared)), ("CNV", cnv())):
        images, bounds = BOUNDS[short]
        integers, _ = case.images(images)
        integers = integers.astype(np.int8 if integers.min() < 0 else np.uint8)
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(to_onnx(case.graph).SerializeToString(), session_options)
        name = session.get_inputs()[0].name
        kind = {"tensor(int8)": np.int8, "tensor(uint8)": np.uint8}[session.get_inputs()[0].type]
        feed = {name: integers.astype(kind)}
        runs: dict[str, tuple[int, Callable[[], np.ndarray]]] = {
            "intir.run": (images, lambda g=case.graph, x=integers: intir.run(g, x, workers=options.threads)),  # type: ignore[misc]
            "onnxruntime": (images, lambda s=session, f=feed: s.run(None, f)[0]),  # type: ignore[misc]
            "qonnx": (1, qonnx_runner(case, 1)),
        }
        if short == "CNV":
            runs["qonnx, rebuilt for a batch"] = (32, qonnx_runner(case, 32))
        ours = runs["intir.run"][1]()
        if not np.array_equal(ours, runs["onnxruntime"][1]()):
            raise SystemExit(f"{case.name}: onnxruntime on the export gives other bits than the reference")
        for rival in ("qonnx", "qonnx, rebuilt for a batch"):
            if rival in runs and not np.allclose(case.real(ours[:runs[rival][0]]), runs[rival][1](), rtol=1e-5, atol=1e-5):
                raise SystemExit(f"{case.name}: {rival} gives other outputs than the reference")
        seconds = best({key: run for key, (_, run) in runs.items()}, options.rounds)
        rates = {key: batch / seconds[key] for key, (batch, _) in runs.items()}
        for key, (batch, _) in runs.items():
            ratio, bound = rates["intir.run"] / rates[key], bounds.get(key)
            failed = bound is not None and ratio < bound
            missed += failed
            table.add_row(case.name, key, str(batch), f"{rates[key]:,.0f}", "" if key == "intir.run" else f"{ratio:,.2f}x",
                          "" if bound is None else f"{bound:g}x", "" if bound is None else "missed" if failed else "met")
        table.add_section()
    Console().print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
