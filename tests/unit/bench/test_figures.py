"""What the benchmark makes of audit logs, samples and runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.operator import audit, models, profile
from tests.bench.operator.__main__ import median


def event(verb: str, uri: str, resource: str, number: int, **place: str) -> str:
    return json.dumps({"auditID": str(number), "verb": verb, "requestURI": uri, "objectRef": {"resource": resource, **place},
                       "responseStatus": {"code": 200}, "requestReceivedTimestamp": "2026-01-01T00:00:00.5Z"}) + "\n"


def test_an_audit_log_is_counted_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = audit.AuditLog(path)
    assert log.read() == 0
    whole = event("watch", "/api/v1/pods", "pods", 1) + event("patch", "/x?dryRun=All", "deployments", 2)
    path.write_text(whole + '{"half')
    mark = log.read()
    assert mark == 2
    path.write_text(whole + event("watch", "/api/v1/pods", "pods", 1) + event("patch", "/x", "tfmodels", 3, subresource="status")
                    + event("update", "/y", "leases", 4))
    later = log.since(mark)
    assert audit.by_kind(later) == {"patch tfmodels/status": 1, "update leases": 1}
    assert audit.by_verb(log.requests) == {"patch": 1, "patch (dry run)": 1, "update": 1, "watch": 1}
    assert [request.writes for request in log.requests] == [False, False, True, False]
    assert [request.renews for request in log.requests] == [False, False, False, True]


@pytest.mark.parametrize(("stack", "part"), [
    pytest.param(("/usr/lib/python3.11/json/decoder.py:decode", "/x/site-packages/kopf/a.py:f"), "json", id="json is its own part"),
    pytest.param(("/usr/lib/python3.11/copy.py:deepcopy", "/x/site-packages/kopf/a.py:f"), "kopf", id="a helper is its caller's"),
    pytest.param(("/w/operator/tfmodel_operator/plan/plan.py:make_plan",), "operator", id="ours"),
    pytest.param(("<string>:f",), "other", id="nobody's"),
])
def test_a_sample_counts_for_whom_it_works(stack: tuple[str, ...], part: str) -> None:
    assert profile.part_of(stack) == part


def test_a_profile_shares_out_the_cpu() -> None:
    text = profile.report("apply", [(("/a/kopf/x.py:f", "/a/kopf/y.py:g"), 3), (("/a/json/e.py:h", "/a/kopf/y.py:g"), 1)], 2.0, n=10)
    assert "75.0%  150.000  kopf" in text
    assert "25.0%   50.000  json" in text
    assert "100.0%  200.000  /a/kopf/y.py:g" in text


def test_runs_give_medians() -> None:
    runs = [{"a": value, "b": {"get": value}, "c": None if value == 1 else value} for value in (3, 1, 2)]
    assert median(runs) == {"runs": 3, "a": 2, "b": {"get": 2}, "c": 2}


@pytest.mark.parametrize(("status", "ready"), [
    pytest.param({}, False, id="no status"),
    pytest.param({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]}, True, id="so"),
    pytest.param({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 2}]}, False, id="at odds"),
    pytest.param({"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1}]}, False, id="of yesterday"),
    pytest.param({"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "False", "observedGeneration": 2}]}, False, id="not so"),
])
def test_ready_is_about_the_spec_as_it_is(status: dict[str, object], ready: bool) -> None:
    assert models.ready({"metadata": {"generation": 2}, "status": status}) is ready
