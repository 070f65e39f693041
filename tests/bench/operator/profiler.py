"""``python -m tests.bench.operator.profiler FILE MODULE …``: run a module and sample where its CPU time goes.

The kernel signals every few milliseconds of CPU time; the handler counts the stack that runs then. That costs well under one
percent and distorts nothing, where a tracing profiler doubles the cost of small functions. C code counts for the Python
function that called it, or, where none did, for the next one that runs.

At SIGUSR2 the samples so far are written to FILE, and counting starts anew.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_SECONDS = 0.002
"""The kernel rounds it up to its clock tick."""


def main() -> None:
    file, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    stacks: Counter[tuple[CodeType, ...]] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        codes = []
        while frame is not None:
            codes.append(frame.f_code)
            frame = frame.f_back
        stacks[tuple(codes)] += 1

    def dump(_: int, __: FrameType | None) -> None:
        taken = list(stacks.items())  # in one go: samples are taken in here too
        stacks.clear()
        unfinished = file.with_suffix(".new")
        named = [[[f"{code.co_filename}:{code.co_qualname}" for code in codes], count] for codes, count in taken]
        unfinished.write_text(json.dumps(named))
        unfinished.rename(file)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR2, dump)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
