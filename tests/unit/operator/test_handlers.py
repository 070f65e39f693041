"""kopf is used for what it is good at, and nothing that writes, scales badly or gives up."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json

import kopf
import pytest

from tests.unit.operator.makers import body
from tests.unit.operator.wire import run
from tfmodel_operator import handlers
from tfmodel_operator.cluster.feed import Feed
from tfmodel_operator.cluster.store import Store

KEY = ("ml", "half")


@pytest.fixture
def fed():
    """A feed, the keys it told of, the relists that were noticed, and kopf's registry."""
    keys, relists = [], []
    feed = Feed(Store(), keys.append)
    return feed, keys, relists, handlers.registry(feed, lambda: relists.append(1))


def event(fed, what, one):
    (handler,) = [one for one in fed[3]._watching._handlers if one.selector.any_name == "tfmodels"]
    asyncio.run(handler.fn(event={"type": what, "object": one}, logger=None, body=one))


def tfmodel(version="7"):
    one = body()
    one["metadata"]["resourceVersion"] = version
    return one


def test_only_events_of_what_people_write_are_handled_and_never_in_a_thread(fed):
    registry = fed[3]
    handlers = registry._watching._handlers
    assert [one.selector.any_name for one in handlers] == ["tfmodels", "tfmodelservers"]
    assert {(one.selector.group, one.selector.version) for one in handlers} == {("serving.tfmodel.dev", "v1alpha1")}
    assert all(inspect.iscoroutinefunction(one.fn) for one in handlers)
    writing = (registry._indexing, registry._spawning, registry._changing, registry._webhooks)
    assert [one._handlers for one in writing] == [[], [], [], []]
    assert [one.id for one in registry._activities._handlers] == ["login"]


def test_events_feed_the_store(fed):
    feed, keys, relists, _ = fed
    event(fed, None, tfmodel())
    event(fed, "MODIFIED", tfmodel("8"))
    assert feed.store.model(KEY)["metadata"]["resourceVersion"] == "8"
    event(fed, "DELETED", tfmodel("9"))
    assert (feed.store.model(KEY), relists) == (None, [])
    assert set(keys) == {KEY}


def test_a_list_of_what_is_known_already_is_a_watch_that_began_anew(fed):
    event(fed, None, tfmodel())
    assert fed[2] == []
    event(fed, None, tfmodel())
    assert fed[2] == [1]


def test_settings_keep_kopf_quiet_stateless_and_patient():
    settings = handlers.settings()
    assert settings.peering.standalone
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    storage = settings.persistence.diffbase_storage
    assert (storage.build(body=kopf.Body({})), storage.fetch(body=kopf.Body({}))) == ({}, None)
    # A watch that goes silent is noticed by three clocks.
    assert settings.watching.inactivity_timeout == 75
    assert settings.watching.server_timeout < settings.watching.client_timeout < 600
    for _ in range(2):
        delays = list(itertools.islice(settings.networking.error_backoffs, 1000))
        assert len(delays) == 1000
        assert max(delays) < 15


def test_in_a_pod_the_api_server_is_reached_by_address_and_the_token_is_read_each_time(monkeypatch):
    tokens = iter(["old", "new"])

    def found(**_):
        return kopf.ConnectionInfo(server="https://kubernetes.default.svc", token=next(tokens), default_namespace="system")

    monkeypatch.setattr(kopf, "login_with_service_account", found)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    first, second = handlers.login(), handlers.login()
    assert (first.server, first.default_namespace) == ("https://[fd00::1]:6443", "system")
    assert first.as_http_headers() != second.as_http_headers()


def test_without_any_credentials_it_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(kopf.PermanentError, match="KUBECONFIG names no usable file"):
        handlers.login(settings=handlers.settings())


def test_kopf_never_gets_the_same_credentials_twice_nor_without_a_pause(monkeypatch, tmp_path):
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    monkeypatch.setattr(handlers, "LOGIN_SECONDS", 0.2)
    registry = handlers.registry(Feed(Store(), lambda key: None), lambda: None)
    (login,) = registry._activities._handlers

    async def test():
        clock = asyncio.get_running_loop().time
        began = clock()
        found = [await login.fn(settings=handlers.settings()) for _ in range(3)]
        assert clock() - began >= 0.4
        assert len({one.expiration for one in found}) == 3
        assert found[0] != found[1]

    run(test)
