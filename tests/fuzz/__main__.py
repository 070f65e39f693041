"""`python -m tests.fuzz --seconds 300`: feed damaged files to the readers of `tfmodel_serving`, and stop at the first surprise.

A surprise is an exception that is no declared reason, a case of more than :data:`MAX_SECONDS`, or memory beyond the limit. Its
input is kept in `build/fuzz`; `python -m tests.fuzz --replay FILE` runs it again. With `--engine atheris` (pip install atheris;
no part of the lock: it has few wheels) one target is fuzzed guided by coverage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz import corpus, mutate
from tests.fuzz.targets import TARGETS

MAX_SECONDS = 5.0
MAX_RSS_MB = 256
KEPT = Path("build/fuzz")


class Surprise(Exception):
    """A target did what no input may make it do."""


def run(name: str, content: bytes) -> None:
    """Feed ``content`` to a target.

    Raises:
        Surprise: The target failed, and where the input is kept.
    """
    start = time.perf_counter()
    try:
        TARGETS[name](content)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Surprise(f"{traceback.format_exc()}\n{keep(name, content)}") from error
    taken = time.perf_counter() - start
    if taken > MAX_SECONDS:
        raise Surprise(f"{name} took {taken:.1f} s\n{keep(name, content)}")


def keep(name: str, content: bytes) -> str:
    """Keep an input, and say how to run it again."""
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}"
    path.write_bytes(content)
    return f"python -m tests.fuzz --replay {path}"


def fuzz(names: list[str], seconds: float, seed: int) -> dict[str, int]:
    """Fuzz the targets in turn and return how many cases each had."""
    seeds = corpus.corpus()
    for name in names:
        for content in seeds[name]:
            run(name, content)
    cases = dict.fromkeys(names, 0)
    chance = random.Random(seed)  # noqa: S311 a run must be repeatable
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in names:
            spent = time.monotonic() + 0.2
            while time.monotonic() < spent:
                run(name, mutate.mutated(seeds[name], chance))
                cases[name] += 1
    return cases


def peak_rss_mb() -> int:
    """Return the most memory this process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) // 1024 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=None, help="of the mutations (default: another one each time)")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="default: all")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one kept input")
    parser.add_argument("--engine", choices=["mutations", "atheris"], default="mutations")
    options = parser.parse_args()
    if options.replay:
        TARGETS[options.replay.name.rpartition("-")[0]](options.replay.read_bytes())
        return 0
    names = options.target or sorted(TARGETS)
    if options.engine == "atheris":
        return with_atheris(names[0], options.seconds)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    corpus.corpus()
    before = peak_rss_mb()
    try:
        cases = fuzz(names, options.seconds, seed)
    except Surprise as surprise:
        print(surprise, f"seed {seed}", sep="\n", file=sys.stderr)
        return 1
    grown = peak_rss_mb() - before
    print(json.dumps({"seed": seed, "seconds": options.seconds, "cases": cases, "rss_grown_mb": grown}))
    return 1 if grown > MAX_RSS_MB else 0


def with_atheris(name: str, seconds: float) -> int:
    """Fuzz one target guided by coverage; never returns when it finds something."""
    import atheris

    atheris.instrument_all()
    directory = KEPT / f"corpus-{name}"
    directory.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(corpus.corpus()[name]):
        (directory / f"seed-{number}").write_bytes(content)
    arguments = [f"-max_total_time={int(seconds)}", f"-timeout={int(MAX_SECONDS)}", f"-rss_limit_mb={1024}", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *arguments, f"-artifact_prefix={KEPT}/{name}-", str(directory)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
