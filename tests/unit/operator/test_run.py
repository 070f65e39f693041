"""The operator as a process, against an API server that the test plays: what ends it, and what doesn't."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.unit.operator.wire import page, run, serving, status, stream, until
from tfmodel_operator import run as operators
from tfmodel_operator import settings
from tfmodel_operator.api import kinds
from tfmodel_operator.cluster import errors

# What kopf looks up before it watches; namespaces and CRDs too, whether it needs them or not.
KINDS = {
    "/api/v1": {"namespaces": "Namespace"},
    "/apis/apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
    "/apis/serving.tfmodel.dev/v1alpha1": {"tfmodels": "TFModel", "tfmodelservers": "TFModelServer"},
}
GROUPS = [path.split("/")[2:] for path in KINDS if path.startswith("/apis")]
DISCOVERY = {
    "/api": {"versions": ["v1"]},
    "/apis": {"groups": [{"name": g, "versions": [{"version": v}], "preferredVersion": {"version": v}} for g, v in GROUPS]},
    **{
        path: {
            "resources": [
                {"name": plural, "kind": kind, "singularName": "", "namespaced": True, "verbs": ["list", "watch"]}
                for plural, kind in found.items()
            ]
        }
        for path, found in KINDS.items()
    },
}
ROOT = Path(__file__).resolve().parent.parent.parent.parent


class Cluster:
    """An empty cluster; ``watches`` has, by plural, what a watch is told instead of nothing, ``refusals`` codes to answer
    first, ``away`` those that can't be watched."""

    def __init__(self):
        self.asked, self.leases, self.watches, self.refusals, self.away = collections.Counter(), None, {}, {}, set()

    async def __call__(self, request):
        if request.path in DISCOVERY:
            return web.json_response(DISCOVERY[request.path])
        plural = request.path.rsplit("/", 1)[-1] if "leases" not in request.path else "leases"
        self.asked["WATCH" if "watch" in request.query else request.method, plural] += 1
        if "watch" in request.query and plural in self.away:
            return status(503)
        if self.refusals.get(plural):
            return status(self.refusals[plural].pop())
        if plural == "leases":
            return await self.lease(request)
        if "watch" not in request.query:
            return page([], 10)
        if plural in self.watches:
            return await stream(request, self.watches[plural])
        return await stream(request, until=asyncio.Event())

    async def lease(self, request):
        if request.method == "GET":
            return status(404) if self.leases is None else web.json_response(self.leases)
        self.leases = json.loads(await request.text())
        self.leases["metadata"] |= {"resourceVersion": "1", "uid": "lease"}
        return web.json_response(self.leases)

    @property
    def holder(self):
        return self.leases and self.leases["spec"]["holderIdentity"]


@contextlib.asynccontextmanager
async def operator(cluster, directory):
    """Run the operator; yield its process."""
    async with serving(cluster) as url:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "system"}}],
            "current-context": "x",
        }
        (directory / "kubeconfig").write_text(json.dumps(config))
        environment = os.environ | {"KUBECONFIG": str(directory / "kubeconfig"), "PYTHONPATH": str(ROOT / "operator"), "POD_UID": "pod"}
        with (directory / "log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tfmodel_operator", "--agent-image=a:1", "--host=127.0.0.1", "--port=0",
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def test_it_leads_and_ends_when_asked_to_with_its_lease_released(tmp_path):
    async def test():
        cluster = Cluster()
        async with operator(cluster, tmp_path) as process:
            await until(lambda: cluster.holder)
            assert cluster.holder.endswith("_pod")
            assert cluster.leases["metadata"]["namespace"] == "system"
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert cluster.holder == ""
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log
        ends = ["Stopping", "Released the lease", "Operator stopped"]  # kopf may say something of the request it was at
        assert [said for line in log.splitlines() if (said := json.loads(line)["message"]) in ends] == ends

    run(test, 60)


def test_the_end_of_any_part_ends_the_process_and_frees_the_lease(tmp_path):
    async def test():
        cluster = Cluster()
        # An error that kopf takes for the end of its watch; a process without one would see no TFModel any more.
        cluster.watches["tfmodels"] = ("ERROR", {"kind": "Status", "code": 500, "message": "etcd is upset"})
        async with operator(cluster, tmp_path) as process:
            assert await process.wait() == 1
            assert cluster.holder in ("", None)
        assert "etcd is upset" in (tmp_path / "log").read_text()

    run(test, 60)


def test_an_api_server_that_does_not_know_us_for_a_moment_is_waited_for(tmp_path):
    async def test():
        cluster = Cluster()
        cluster.refusals |= {"tfmodels": [401] * 4, "pods": [401] * 3, "leases": [401] * 2}
        async with operator(cluster, tmp_path) as process:
            await until(lambda: cluster.holder and cluster.asked["WATCH", "tfmodels"])
            assert process.returncode is None
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0

    run(test, 60)


def test_tfmodels_are_watched_although_their_crd_came_later(tmp_path):
    async def test():
        cluster = Cluster()
        cluster.refusals["tfmodels"] = [404] * 3
        async with operator(cluster, tmp_path):
            await until(lambda: cluster.holder and cluster.asked["WATCH", "tfmodels"])

    run(test, 60)


def test_a_watch_that_kopf_tries_again_and_again_is_not_logged_each_time(tmp_path):
    async def test():
        cluster = Cluster()
        cluster.away.add("tfmodelservers")
        async with operator(cluster, tmp_path):
            await until(lambda: cluster.asked["WATCH", "tfmodelservers"] >= 4)

    run(test, 60)
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["message"].split(":")[0] for one in told if "attempt" in one["message"]] == ["Request attempt #1 failed; will retry"]


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Have something done with all parts of an operator that doesn't run."""
    user = {"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "u", "user": {"token": "t"}}]}
    config = {**user, "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))

    def do(test):
        async def with_parts():
            async with aiohttp.ClientSession() as http:
                made = operators._Operator(settings.parse(["--agent-image=a:1"]), http)
                try:
                    await test(made)
                finally:
                    await made.close()

        run(with_parts)

    return do


def test_who_does_not_lead_writes_nothing(parts):
    async def test(made):
        manifest = {"kind": "ConfigMap", "metadata": {"namespace": "ml", "name": "half-models"}}
        for write in (made._client.apply(manifest), made._client.merge(manifest, {}), made._client.create(kinds.CONFIG_MAP, manifest)):
            with pytest.raises(errors.Unavailable, match="nothing is written while it isn't certain that the lease is ours"):
                await write

    parts(test)


def test_what_failed_is_tried_at_once_when_the_api_server_is_back(parts):
    async def test(made):
        for _ in range(8):
            made._queue.retry(("ml", "half"))
        assert len(made._queue) == 0, "it waits for most of a minute"
        made._reflectors[0]._recovered()
        assert len(made._queue) == 1

    parts(test)
