"""`status.versions`: how far each version is over all pods, bounded, whatever agents say."""

from __future__ import annotations

from tests.unit.operator.makers import pod, seen, silent, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Type
from tfmodel_operator.status import status, versions


def entries(*pods, **given):
    return versions.entries(seen(*pods, **given))


def test_a_version_is_as_far_as_the_pod_that_is_least_far():
    found = entries(pod("a", version(2), version(1)), pod("b", version(2, "LOADING"), version(1)))
    assert [(v["version"], v["state"], v["pods"], v["of"]) for v in found] == [(2, "LOADING", 1, 2), (1, "AVAILABLE", 2, 2)]


def test_pods_that_say_nothing_count():
    found = entries(pod("a", version(2)), pod("b", version(1)), silent("c"))
    assert [(v["version"], v["state"], v["pods"], v["of"]) for v in found] == [(2, "", 1, 3), (1, "", 1, 3)]


def test_what_is_known_of_the_files_is_told():
    one = version(1, digest="sha256:a", signatures=("serving_default",), warmup_records=12)
    assert entries(pod("a", one)) == [
        {
            "version": 1, "state": "AVAILABLE", "verdict": "Verified", "pods": 1, "of": 1, "message": "",
            "digest": "sha256:a", "signatures": ["serving_default"], "warmupRecords": 12,
        }
    ]  # fmt: skip


def test_a_digest_is_told_only_if_all_pods_agree():
    assert "digest" not in entries(pod("a", version(1, digest="sha256:a")), pod("b", version(1, digest="sha256:b")))[0]


def test_labels_are_those_that_all_agents_have_set():
    pods = pod("a", version(2), version(1)), pod("b", version(2), version(1))
    labels = {"stable": 1, "canary": 2, "next": 2}
    rollout = facts.Rollout(labels=labels)
    assert [v.get("labels") for v in entries(*pods, rollout=rollout)] == [["canary", "next"], ["stable"]]
    for late in (pod("b", version(2), version(1), config_hash="old"), pod("b", version(2), version(1), settled=False), silent("b")):
        assert [v.get("labels") for v in entries(pods[0], late, rollout=rollout)] == [None, None]


def test_the_versions_that_matter_are_kept_when_there_are_too_many():
    unused = [version(number, "", wanted=False) for number in range(100, 130)]
    found = entries(pod("a", *unused, version(7), version(3, wanted=False)), policy={"specific": {"versions": [5, 7]}})
    numbers = [entry["version"] for entry in found]
    assert len(numbers) == 20
    assert numbers == sorted(numbers, reverse=True)
    assert {7, 3} <= set(numbers)  # wanted, and served
    assert numbers[0] == 129


def test_a_wanted_version_beyond_the_list_still_counts():
    unused = [version(number, "", wanted=False) for number in range(100, 130)]
    policy = {"specific": {"versions": [7]}}
    assert "version 7 AVAILABLE" in ready(seen(pod("a", *unused, version(7)), policy=policy)).message
    assert ready(seen(pod("a", *unused, version(7, "LOADING")), policy=policy)).status == "False"
    assert ready(seen(pod("a", *unused), policy=policy)).status == "False"


def ready(found):
    return status.findings(found)[Type.READY]


def test_what_agents_say_is_cut_to_what_status_can_hold():
    wild = version(
        1, "A" * 99, "V" * 99, message="a\nb\x07" + "m" * 9999, reason="r" * 99, digest="d" * 999,
        signatures=tuple(f"{number}{'s' * 999}" for number in range(99)), warmup_records=2**40,
    )  # fmt: skip
    (entry,) = entries(pod("a", wild, version(0), version(2**63), version(-1)))
    assert entry["version"] == 1
    assert entry["message"].startswith("a b m")
    assert {key: len(value) for key, value in entry.items() if isinstance(value, str | list)} == {
        "state": 16, "verdict": 16, "message": 1024, "reason": 63, "digest": 80, "signatures": 17,
    }  # fmt: skip
    assert entry["warmupRecords"] == 2**31 - 1
