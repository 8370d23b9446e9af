"""SCALE-Sim 3.0.0 in this process: `run` a topology; it runs in an environment of its own (`__main__`).

``python peer.py CONFIG TOPOLOGY LAYOUT FOLDER`` prints the CPU seconds, imports excluded, as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time


def main() -> None:
    config, topology, layout, folder = sys.argv[1:]
    from scalesim.scale_sim import scalesim

    started = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        scalesim(save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout,
                 input_type_gemm=False).run_scale(top_path=folder)
    print(json.dumps({"cpu_seconds": time.process_time() - started}))


if __name__ == "__main__":
    main()
