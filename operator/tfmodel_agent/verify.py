"""`python -m tfmodel_agent verify BASE_PATH`: the verdicts an agent would give on a directory, for people and pipelines."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tfmodel_serving import model_config, problems, saved_model, signatures, versions, warmup
from tfmodel_serving.state import clean

UNAVAILABLE = 2
"""Exit code if the base path can't be listed; 1 with --exit-code if a version is not verified, or there is none."""


def main(arguments: Sequence[str]) -> int:
    """Print the verdicts and return the exit code."""
    options = _parse(arguments)
    rules = warmup.Rules(options.warmup, options.min_records, options.max_batch_size)
    # What is cut short is no copy any more, but a fault, if it has not grown while we waited.
    settings = saved_model.Settings(rules, is_hashed=options.digests, mount=options.mount, patience_seconds=0.0)
    try:
        ignored = versions.list_versions(options.base_path).ignored
        looks = _two_looks(options.base_path, settings, options.settle)
    except versions.SourceUnavailable as error:
        document = {"versions": [], "ignored": [], "reason": "SourceUnavailable", "message": clean(str(error))}
        print(json.dumps(document) if options.json else document["message"])  # noqa: T201 its output
        return UNAVAILABLE
    print(json.dumps(_document(looks, ignored)) if options.json else _table(looks, ignored))  # noqa: T201
    is_good = bool(looks) and all(look.finding.verdict is saved_model.Verdict.VERIFIED for look in looks.values())
    return 1 if options.exit_code and not is_good else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tfmodel_agent verify", description="Say of every version below BASE_PATH whether an agent would let it be served."
    )
    parser.add_argument("base_path", metavar="BASE_PATH", help="the directory whose numeric children are the versions")
    parser.add_argument("--max-batch-size", type=int, default=0, metavar="N", help="the server's; 0 if it doesn't batch")
    parser.add_argument("--warmup", type=warmup.Policy, choices=list(warmup.Policy), default=warmup.Policy.IF_PRESENT)
    parser.add_argument("--min-records", type=int, default=0, metavar="N", help="warmup records wanted with --warmup=Required")
    parser.add_argument("--mount", default="", metavar="DIR", help="what links may not leave (default: BASE_PATH)")
    parser.add_argument(
        "--settle", type=float, default=0.2, metavar="SECONDS", help="files must not change for so long (default: %(default)s)"
    )
    parser.add_argument("--no-digests", dest="digests", action="store_false", help="don't hash the files")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--exit-code", action="store_true", help="end with 1 if a version is not verified, or there is none")
    return parser.parse_args(arguments)


def _two_looks(base_path: str, settings: saved_model.Settings, settle_seconds: float) -> Mapping[int, saved_model.Look]:
    model = model_config.Model("model", base_path, model_config.All())
    first = saved_model.look(model, {}, settings, time.monotonic())
    time.sleep(max(0.0, settle_seconds))
    return saved_model.look(model, first, settings, time.monotonic())


def _document(looks: Mapping[int, saved_model.Look], ignored: Sequence[str]) -> dict[str, Any]:
    rows = [_to_dict(version, look.finding) for version, look in sorted(looks.items(), reverse=True)]
    document = {"versions": rows, "ignored": [clean(name) for name in ignored]}
    return document if rows else {**document, "reason": str(problems.Reason.NO_VERSION_FOUND), "message": _no_version(ignored)}


def _no_version(ignored: Sequence[str]) -> str:
    """Say that there is no version, and of the commonest mistake what it is."""
    is_version = any(name.startswith("saved_model.") for name in ignored)
    return "no version found" + (": this is a version itself, give the directory above it" if is_version else "")


def _to_dict(version: int, finding: saved_model.Finding) -> dict[str, Any]:
    return {
        "version": version,
        "verdict": str(finding.verdict),
        "reason": str(finding.reason),
        "message": clean(finding.message),
        "digest": finding.digest,
        "signatures": signatures.to_dict(finding.signatures),
        "warmupRecords": finding.warmup_records,
        "warnings": [clean(warning) for warning in finding.warnings],
        "sizeBytes": finding.size_bytes,
    }


def _table(looks: Mapping[int, saved_model.Look], ignored: Sequence[str]) -> str:
    lines = [f"{'VERSION':<10} {'VERDICT':<10} {'SIZE':>10} {'WARMUP':>6}  SIGNATURES OR REASON"]
    for version, look in sorted(looks.items(), reverse=True):
        found = look.finding
        said = f"{found.reason}: {found.message}" if found.message else ", ".join(found.signatures) or "no signatures"
        size = f"{found.size_bytes / 1e6:.1f} MB"
        lines.append(f"{version:<10} {found.verdict:<10} {size:>10} {found.warmup_records:>6}  {clean(said)}")
        lines += [f"{'':10} warning: {clean(warning)}" for warning in found.warnings]
    if not looks:
        lines = [_no_version(ignored)]
    if ignored:
        lines.append(f"Ignored: {clean(', '.join(ignored))}")
    return "\n".join(lines)
