"""All objects of a shared server: one ConfigMap with the models of all members, one Deployment with the claims of all.

The Services are the members' own (:mod:`tfmodel_operator.plan.service`).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from tfmodel_operator.api import labels, spec
from tfmodel_operator.plan import configmap, deployment, join, plan, platform
from tfmodel_serving import agent_config


def make_plan(
    server: spec.ModelServer,
    members: Mapping[str, spec.TFModel],
    absent: Iterable[str],
    used: platform.Platform,
    live: plan.Live,
    now: datetime.datetime,
) -> plan.Plan:
    """Return what should exist for ``server``; equal inputs give equal plans.

    Args:
        members: By name of the TFModel.
        absent: Claims that don't exist: pods that want them could not start.
        now: With a time zone. It counts only while pods wait for accelerators.

    Raises:
        tfmodel_serving.model_config.InvalidModelConfig: The config can't be published.
    """
    made = configmap.configmap(
        server, list(members.values()), agent_config.Readiness.PER_MODEL, {labels.MEMBERS: join.record(members)}
    )
    needed = wanted_claims(server, members.values()) - set(absent)
    return plan.of_host(_with_claims(server, needed, used, live.deployment), (made,), used, live, now)


def wanted_claims(server: spec.ModelServer, members: Iterable[spec.TFModel]) -> set[str]:
    """Return the claims that the pods should have: those given in advance, and those of the members."""
    return {*server.volumes, *(model.source.claim_name for model in members)}


def mounted_claims(made: Mapping[str, Any] | None) -> set[str]:
    """Return the claims in the template of a Deployment."""
    volumes = made["spec"]["template"]["spec"].get("volumes", []) if made is not None else []
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def _with_claims(
    server: spec.ModelServer, needed: set[str], used: platform.Platform, live: Mapping[str, Any] | None
) -> spec.ModelServer:
    """Return ``server`` with the claims to mount.

    A claim that nobody needs any more stays until the template changes for another reason: a model that leaves restarts no pod.
    """
    mounted = mounted_claims(live)
    if live is not None and needed < mounted:
        as_it_is = dataclasses.replace(server, claims=tuple(sorted(mounted)))
        _, template = deployment.template(as_it_is, used, live)
        if platform.hash_of(template) == platform.hash_of(live["spec"]["template"]):
            return as_it_is
    return dataclasses.replace(server, claims=tuple(sorted(needed)))
