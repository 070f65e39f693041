"""What holds of a status whatever the facts are, hostile agents included."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import jsonschema
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operator.makers import agent, seen, tfmodel, version
from tfmodel_operator.api import facts
from tfmodel_operator.api.conditions import Finding, Reason, Type
from tfmodel_operator.plan.rollout.step import Phase
from tfmodel_operator.status import status
from tfmodel_operator.status.events import events
from tfmodel_serving import model_config
from tfmodel_serving.state import AgentState, ModelState, VersionState

CRD = Path(__file__).parents[3] / "crds/serving.tfmodel.dev_tfmodels.yaml"
TIMES = [f"2026-01-01T00:00:{second:02}Z" for second in range(10)]
INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}

texts = st.text(max_size=20) | st.sampled_from(["failed to load: broken", "x" * 5000, "a\nb\x00", "\ud800"])
versions = st.builds(
    VersionState,
    version=st.integers(1, 4) | st.integers(-(2**70), 2**70),
    verdict=st.sampled_from(["Verified", "Rejected", "Incomplete", "Missing"]) | texts,
    state=st.sampled_from(["AVAILABLE", "LOADING", "END", "", "START", "UNLOADING"]) | texts,
    wanted=st.booleans(), message=texts, reason=st.sampled_from(["", "WarmupInvalid", "ModelLoadFailed", "Odd"]) | texts, digest=texts,
    size_bytes=st.integers(), signatures=st.lists(texts, max_size=2).map(tuple), warmup_records=st.integers(),
)  # fmt: skip
models = st.builds(ModelState, name=st.sampled_from(["half", "half", "other"]), source_message=st.just("") | texts, versions=st.lists(versions, max_size=3).map(tuple))
agents = st.builds(
    AgentState, pod_uid=st.just("uid"), config_hash=st.sampled_from(["hash", "older"]), ready=st.booleans(), settled=st.booleans(), step=texts,
    config_message=st.just("") | texts, server_message=st.just("") | texts, suspect=st.just("") | texts, models=st.lists(models, max_size=2).map(tuple),
)  # fmt: skip
problems = st.none() | st.builds(Finding, st.just("False"), st.sampled_from([*Reason]), texts)
wild_pods = st.builds(
    facts.PodFacts, name=st.sampled_from("abc"), current=st.booleans(), ready=st.booleans(), problem=problems, phase=texts,
    agent_started=st.booleans(), agent=st.none() | agents, agent_message=texts,
)  # fmt: skip
says = st.fixed_dictionaries(
    {"rollout": st.fixed_dictionaries({"phase": st.sampled_from([*Phase]).map(str), "step": st.text(max_size=20)})},
    optional={"candidateVersion": st.integers(1, 4), "promotedVersion": st.integers(1, 4)},
)
policies = st.sampled_from([{"latest": {"numVersions": 1}}, {"latest": {"numVersions": 2}}, {"all": {}}, {"specific": {"versions": [1, 2]}}])


@st.composite
def good_agents(draw):
    """What an agent says when all is well; half of the time with one thing changed."""
    good = agent(version(2), version(1))
    if draw(st.booleans()):
        return good
    change = draw(st.sampled_from(["hash", "settled", "suspect", "server", "config", "source", "state", "verdict", "lacks", "no model"]))
    first, second = good.models[0].versions
    broken = {
        "state": dataclasses.replace(first, state=draw(st.sampled_from(["", "LOADING", "END", "UNLOADING"]))),
        "verdict": dataclasses.replace(first, verdict=draw(st.sampled_from(["Missing", "Rejected", "Incomplete"]))),
    }
    if change in broken:
        return agent(broken[change], second)
    if change == "lacks":
        return agent(second)
    changes = {
        "hash": {"config_hash": "older"}, "settled": {"settled": False}, "suspect": {"suspect": "hung"}, "server": {"server_message": "away"},
        "config": {"config_message": "bad"}, "source": {"models": (dataclasses.replace(good.models[0], source_message="gone"),)}, "no model": {"models": ()},
    }  # fmt: skip
    return dataclasses.replace(good, **changes[change])


@st.composite
def near(draw):
    """Facts that are close to all being well, so that every single thing that isn't must be seen."""
    count = draw(st.integers(0, 3))
    pods = tuple(
        facts.PodFacts(
            f"half-{number}", current=draw(st.sampled_from([True, True, False])), ready=draw(st.sampled_from([True, True, False])),
            problem=draw(st.sampled_from([None, None, None, Finding("False", Reason.IMAGE_PULL_FAILED, "no image")])),
            agent_started=True, agent=(draw(st.sampled_from([True, True, False])) and draw(good_agents())) or None,
        )
        for number in range(count)
    )  # fmt: skip
    counts = {key: count + draw(st.sampled_from([0, 0, 0, 0, 1, -1])) for key in ("wanted", "replicas", "updated", "ready")}
    flags = {"observed": draw(st.sampled_from([True, True, True, False])), "paused": draw(st.sampled_from([False, False, True]))}
    problem = draw(st.sampled_from([None, None, None, Finding("False", Reason.NAME_CONFLICT, "somebody's")]))
    overdue = draw(st.sampled_from(["", "", "late"]))
    return seen(*pods, policy=draw(policies), deployment={**counts, **flags, "overdue": overdue}, config_problem=problem)


LONG = st.sampled_from(["", "image", "x" * 5000])
wild = st.builds(
    facts.Facts,
    model=policies.map(lambda policy: tfmodel(versionPolicy=policy)),
    config_hash=st.just("hash"), config_problem=problems,
    deployment=st.builds(
        facts.DeploymentFacts, observed=st.booleans(), wanted=st.integers(0, 3), replicas=st.integers(0, 3), updated=st.integers(0, 3),
        ready=st.integers(0, 3), problem=problems, overdue=st.just("") | texts, paused=st.booleans(), image=LONG, accelerator=LONG,
    ),
    pods=st.lists(wild_pods, max_size=3).map(tuple),
    rollout=st.builds(
        facts.Rollout, finding=problems, says=says, serves=st.booleans(),
        labels=st.dictionaries(st.sampled_from(["stable", "canary"]), st.integers(1, 4)),
    ),
)  # fmt: skip
anything = wild | near()


def by_type(found):
    return {condition["type"]: condition for condition in found["conditions"]}


def judged(found, before=None, now=TIMES[0]):
    return status.status(found, before or {}, {"rest": "http://half", "grpc": "half", "headless": "half"}, now)


def all_is_well(found):
    """Ready, in other words than the checks': what anybody may conclude from it."""
    made, pods = found.deployment, found.pods
    counted = made.observed and not made.paused and len(pods) == made.wanted == made.replicas == made.updated == made.ready
    return counted and found.config_problem is None and made.problem is None and all(serves_what_is_wanted(pod, found) for pod in pods)


def serves_what_is_wanted(pod, found):
    if not (pod.current and pod.ready and pod.agent and pod.agent.settled and pod.agent.config_hash == found.config_hash):
        return False
    model = pod.agent.model("half")
    if model is None or pod.agent.suspect or pod.agent.server_message or pod.agent.config_message or model.source_message:
        return False
    available = {one.version for one in model.versions if one.state == "AVAILABLE"}
    wanted = {one.version for one in model.versions if one.wanted}
    policy = found.model.version_policy
    if isinstance(policy, model_config.Specific):
        wanted |= set(policy.versions)
    return bool(wanted) and wanted <= available


@settings(max_examples=800, deadline=None)
@given(anything)
def test_ready_implies_everything(found):
    if by_type(judged(found))["Ready"]["status"] == "True":
        assert all_is_well(found)
        assert len({frozenset(o.version for o in pod.agent.model("half").versions if o.wanted) for pod in found.pods}) <= 1


def test_the_examples_reach_ready_too():
    assert by_type(judged(seen(facts.PodFacts("a", True, True, agent_started=True, agent=agent(version(2), version(1))))))["Ready"]["status"] == "True"


@settings(max_examples=300, deadline=None)
@given(anything)
def test_not_ready_is_either_stalled_or_reconciling(found):
    conditions = by_type(judged(found))
    present = {kind for kind in (Type.STALLED, Type.RECONCILING) if kind in conditions}
    assert len(present) == (0 if conditions["Ready"]["status"] == "True" else 1)
    assert all(conditions[kind]["status"] == "True" for kind in present)
    assert {condition["observedGeneration"] for condition in conditions.values()} == {found.model.generation}


@settings(max_examples=200, deadline=None)
@given(anything)
def test_available_means_that_a_ready_pod_has_a_version(found):
    answers = [
        version.version
        for pod in found.pods
        if pod.ready and pod.agent and (model := pod.agent.model("half"))
        for version in model.versions
        if version.state == "AVAILABLE" and 1 <= version.version < 2**63
    ]
    assert (by_type(judged(found))["Available"]["status"] == "True") == bool(answers)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_equal_facts_give_an_equal_status(found):
    first = judged(found)
    assert judged(copy.deepcopy(found)) == first
    assert judged(found, before=first, now=TIMES[1]) == first
    assert events(first, first) == ()


@settings(max_examples=100, deadline=None)
@given(st.lists(anything, min_size=2, max_size=6))
def test_times_move_only_with_status(chain):
    before = {}
    for found, now in zip(chain, TIMES, strict=False):
        after = judged(found, before, now)
        was = by_type(before) if before else {}
        for kind, condition in by_type(after).items():
            same = kind in was and was[kind]["status"] == condition["status"]
            assert condition["lastTransitionTime"] == (was[kind]["lastTransitionTime"] if same else now)
        for event in events(before, after):
            assert event.reason in {by_type(after)[kind]["reason"] for kind in ("Ready", "Available")}
        before = after


def schema():
    """The CRD's schema of status, with all that the API server enforces, drops, or keeps unique."""

    def strict(node):
        if isinstance(node, list):
            return [strict(item) for item in node]
        if not isinstance(node, dict):
            return node
        result = {key: strict(value) for key, value in node.items()}
        if isinstance(node.get("properties"), dict):
            result["additionalProperties"] = False
        if node.get("format") in INTEGERS:
            result["minimum"], result["maximum"] = INTEGERS[node["format"]]
        return result

    crd = yaml.safe_load(CRD.read_text())
    return strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"])


FITS = jsonschema.Draft202012Validator(schema(), format_checker=jsonschema.FormatChecker())


@settings(max_examples=400, deadline=None)
@given(anything)
def test_status_always_fits_the_schema(found):
    fits(judged(found))


@settings(max_examples=100, deadline=None)
@given(anything, problems.filter(bool))
def test_the_status_of_an_invalid_spec_fits_the_schema(found, finding):
    before = judged(found)
    after = status.invalid(before, finding, 9, TIMES[1], pods=found.pods, model_name="half")
    fits(after)
    conditions = by_type(after)
    assert conditions["Stalled"]["status"] == "True"
    assert "Reconciling" not in conditions
    assert status.invalid(after, finding, 9, TIMES[2], pods=found.pods, model_name="half") == after


def fits(found):
    FITS.validate(found)
    for items, key in ((found["conditions"], "type"), (found.get("versions", []), "version")):
        assert len({item[key] for item in items}) == len(items)
    assert found.get("versions") != []  # an empty list would not be stored
    json.dumps(found, ensure_ascii=False).encode()  # lone surrogates come back from the API server as something else, and would be written for ever
