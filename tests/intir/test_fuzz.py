"""10,000 corrupted files: each loads, or gives the clear error; never another exception, a hang or more than 1 GB.

Runs in a process of its own whose address space is limited and which an alarm ends if one file takes over ten seconds.
``BITWRIGHT_FUZZ`` sets another number of files, ``BITWRIGHT_SEED`` the seed.
"""


from __future__ import annotations

import copy
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

FILES = int(os.environ.get("BITWRIGHT_FUZZ", "10000"))
SEED = int(os.environ.get("BITWRIGHT_SEED", "0"))
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_corrupted_files_give_the_clear_error(part: int) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(FILES // PARTS), str(SEED * PARTS + part)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=170, env=environment, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    good, bad = map(int, result.stdout.split())
    assert good + bad == FILES // PARTS and bad > good


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    array = np.frombuffer(data, np.uint8).copy()
    for _ in range(int(rng.integers(1, 4))):
        array[rng.integers(len(array))] ^= np.uint8(1 << rng.integers(8))
    return array.tobytes()


def truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[:rng.integers(len(data))]


def splice(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(rng.integers(0, len(data), 2))
    return data[:a] + rng.bytes(int(rng.integers(0, 9))) + data[b if rng.random() < 0.5 else a:]


def edit_zip_headers(rng: np.random.Generator, data: bytes) -> bytes:
    """Random bytes in a local header, the central directory or the end record."""
    starts = [at for mark in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06") for at in range(len(data)) if data.startswith(mark, at)]
    at = int(rng.choice(starts)) + int(rng.integers(4, 46))
    size = int(rng.integers(1, 5))
    filler = b"\xff" * size if rng.random() < 0.3 else rng.bytes(size)
    return data[:at] + filler + data[at + size:]


def rewritten(data: bytes, name: str, content: bytes) -> bytes:
    """The zip with one entry replaced and its checksums right, so that the change reaches the parser behind them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for info in source.infolist():
            target.writestr(info.filename, content if info.filename == name else source.read(info))
    return buffer.getvalue()


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def content(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def edit_array(rng: np.random.Generator, data: bytes) -> bytes:
    arrays = [name for name in names(data) if name.endswith(".npy")]
    if not arrays:
        return flip_bits(rng, data)
    name = str(rng.choice(arrays))
    old = content(data, name)
    start = int(rng.integers(len(old) if rng.random() < 0.3 else min(80, len(old))))
    shapes = [b"(2147483648, 2147483648)", b"(1,)", b"()", b"(0,)", b"(-1, 3)", b"(9999999999,)", b"(1.5,)"]
    if rng.random() < 0.3 and b"(" in old[:100]:
        a, b = old.index(b"("), old.index(b")") + 1
        return rewritten(data, name, old[:a] + shapes[rng.integers(len(shapes))] + old[b:])
    return rewritten(data, name, old[:start] + rng.bytes(int(rng.integers(1, 9))) + old[start + int(rng.integers(0, 9)):])


VALUES = [0, 1, -1, 2, 7, 2**31, 2**31 - 1, 2**62, 2**63, -2**63, 10**19, True, None, "", "x", "u8", "s62", "bipolar", "[0, 0]", "[0, 5] step 5",
          "[-4611686018427387903, 4611686018427387903]", "1/0", "1/3", "9" * 3999, [], {}, [0], [1, 2], [2**31, 2**31], [[1]], {"a": 1},
          "arrays/00000.weights.npy", "x0", "\ud800", "a" * 10**5]


def edit_json(rng: np.random.Generator, data: bytes) -> bytes:
    """One to three fields anywhere in the JSON replaced, removed, added, or a number changed."""
    plain = json.loads(content(data, "graph.json"))
    for _ in range(int(rng.integers(1, 4))):
        at = plain
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = keys[rng.integers(len(keys))]
            if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.9:
                at = at[key]
                continue
            choice = rng.random()
            if choice < 0.1:
                del at[key]
            elif choice < 0.2 and isinstance(at, list):
                at.append(copy.deepcopy(at[key]))
            elif choice < 0.5 and isinstance(at[key], int):
                at[key] = at[key] + int(rng.integers(-3, 4))
            else:
                at[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
            break
    return rewritten(data, "graph.json", json.dumps(plain).encode())


def edit_json_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    text = content(data, "graph.json")
    extras = [b"NaN", b"Infinity", b"1e999", b"[" * 20000, b'{"a":' * 5000, b"9" * 50000, b"\xff", b'"', b",", b"\x00", b"-0", b"1" * 19]
    at = int(rng.integers(len(text)))
    return rewritten(data, "graph.json", text[:at] + extras[rng.integers(len(extras))] + text[at + int(rng.integers(0, 3)):])


CORRUPTIONS = [flip_bits, truncate, splice, edit_zip_headers, edit_array, edit_array, edit_json, edit_json, edit_json, edit_json_bytes]


def main(files: int, seed: int) -> None:
    from intir import BitwrightError, load
    from intir.file import to_bytes
    from intir.random_graph import random_graph

    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    graphs = [to_bytes(random_graph(number)) for number in range(seed * 100, seed * 100 + 60)]
    rng = np.random.default_rng(seed)
    good = bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzzed.intir"
        for number in range(files):
            corrupt = CORRUPTIONS[number % len(CORRUPTIONS)]
            data = corrupt(rng, graphs[rng.integers(len(graphs))])
            path.write_bytes(data)
            signal.alarm(10)
            try:
                load(path)
                good += 1
            except BitwrightError as error:
                bad += 1
                if "\n" in str(error) or len(str(error)) > 1200:
                    raise SystemExit(f"file {number} ({corrupt.__name__}): not one sentence: {str(error)[:1500]}") from None
            except BaseException as error:
                Path(tempfile.gettempdir(), "bitwright-fuzzed.intir").write_bytes(data)
                raise SystemExit(f"file {number} ({corrupt.__name__}, seed {seed}): {type(error).__name__}: {error}") from error
            signal.alarm(0)
    print(good, bad)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
