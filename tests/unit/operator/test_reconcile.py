"""Passes against an API server that the test plays: what they ask, and what they write."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import aiohttp
from aiohttp import web

from tests.unit.operator.makers import PLATFORM, agent, body, planned, tfmodel, version
from tests.unit.operator.test_agents import Agent
from tests.unit.operator.wire import api, run, serving, status, until
from tfmodel_operator import reconcile
from tfmodel_operator.api import labels
from tfmodel_operator.cluster.apply import Applier
from tfmodel_operator.cluster.events import Recorder
from tfmodel_operator.cluster.store import Store
from tfmodel_operator.cluster.strangers import Strangers
from tfmodel_operator.observe.agents import Agents
from tfmodel_operator.world import Desired, World

KEY = ("ml", "half")


class Cluster:
    """An API server without a single object; ``written`` is what it is told to have."""

    def __init__(self):
        self.asked, self.written = [], []

    async def __call__(self, request):
        self.asked.append((request.method, request.path.rsplit("/", 1)[-1]))
        if request.method != "PATCH":
            return status(404)
        self.written.append(json.loads(await request.text()))
        made = self.written[-1]
        return web.json_response({**made, "metadata": {"uid": "1", **made["metadata"], "resourceVersion": "100"}})


@contextlib.asynccontextmanager
async def world(cluster):
    async with api(cluster) as client, aiohttp.ClientSession() as http:
        store = Store()
        agents = Agents(http, lambda key: None)
        applier = Applier(client, store, Strangers(client))
        try:
            yield World(store, client, applier, agents, Recorder(client, "test"), PLATFORM, busy=lambda: False)
        finally:
            agents.close()


def test_nothing_is_made_for_a_tfmodel_whose_deletion_nobody_told():
    async def test():
        cluster = Cluster()
        async with world(cluster) as made:
            made.store.upsert("TFModel", body() | {"status": {"conditions": [{"type": "Ready"}]}})
            assert await reconcile.reconcile(KEY, made) == 0.0
            assert made.store.model(KEY) is None
        assert cluster.asked == [("GET", "half")]

    run(test)


def test_a_pod_is_touched_by_its_uid_so_that_none_is_made_if_it_is_gone(monkeypatch):
    pod = {
        "metadata": {
            "name": "half-1",
            "namespace": "ml",
            "uid": "1",
            "resourceVersion": "8",
            "labels": {labels.SERVER: "half", "pod-template-hash": "abc"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "half-abc", "controller": True}],
        },
        "status": {"podIP": "127.0.0.1", "initContainerStatuses": [{"name": "agent", "started": True}]},
    }
    made = planned()
    desired = Desired(tfmodel(), made.progress, made.config_hash, True, made.template_hash, None, None, (), None)

    async def test():
        cluster, one = Cluster(), Agent(dataclasses.replace(agent(version(1), config_hash="older"), pod_uid="1"))
        async with serving(one) as url, world(cluster) as there:
            monkeypatch.setattr(labels, "AGENT_PORT", int(url.rsplit(":", 1)[1]))
            there.store.upsert("Pod", pod)
            await reconcile._touch(desired, KEY, there)
            assert cluster.written == [], "nothing is known of it yet"
            await until(lambda: there.agents.report("1").state)
            await reconcile._touch(desired, KEY, there)
            await reconcile._touch(desired, KEY, there)
        assert [found["metadata"] for found in cluster.written] == [
            {"name": "half-1", "namespace": "ml", "uid": "1", "annotations": {labels.CONFIG_HASH: made.config_hash}}
        ]

    run(test)
