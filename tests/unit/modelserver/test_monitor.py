"""What the state monitor remembers, and whose end it takes for whose."""

from __future__ import annotations

from tests.modelserver import monitor, status
from tests.modelserver.monitor import ServableId, ServableState, State

ERROR = status.StatusError(status.Code.DATA_LOSS, "bad")


def published(*states: ServableState) -> monitor.StateMonitor:
    bus = monitor.EventBus()
    listening = monitor.StateMonitor(bus)
    for state in states:
        bus.publish(state)
    return listening


def test_the_highest_settled_version_decides_alone():
    listening = published(
        ServableState(ServableId("m", 1), State.AVAILABLE),
        ServableState(ServableId("m", 2), State.END, ERROR),
        ServableState(ServableId("m", 3), State.LOADING),
    )
    settled = listening.wait_until_settled(["m"])
    assert [state.id.version for state in settled] == [2]
    assert monitor.failure_text(settled, listening, "model(s)") == (
        "1 model(s) did not become available: {{{name: m version: 2} due to error: DATA_LOSS: bad}, }"
    )


def test_an_end_without_error_is_a_failure_without_a_cause():
    listening = published(ServableState(ServableId("m", 1), State.END))
    settled = listening.wait_until_settled(["m"])
    assert monitor.failure_text(settled, listening, "model(s)") == (
        "1 model(s) did not become available: {{{name: m version: 1}}, }"
    )


def test_available_models_leave_nothing_to_say():
    listening = published(ServableState(ServableId("m", 1), State.AVAILABLE))
    assert monitor.failure_text(listening.wait_until_settled(["m"]), listening, "model(s)") is None
    assert listening.wait_until_settled([]) == []


def test_a_fresh_monitor_knows_nothing_of_before():
    bus = monitor.EventBus()
    bus.publish(ServableState(ServableId("m", 1), State.AVAILABLE))
    fresh = monitor.StateMonitor(bus)
    assert fresh.versions("m") == []
    fresh.close()
    bus.publish(ServableState(ServableId("m", 1), State.END))
    assert fresh.versions("m") == []


def test_versions_are_listed_highest_first():
    listening = published(*(ServableState(ServableId("m", version), State.END) for version in (2, -4, 10)))
    assert [state.id.version for state in listening.versions("m")] == [10, 2, -4]
