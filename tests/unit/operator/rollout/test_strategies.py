from __future__ import annotations

import pytest

from tests.unit.operator.rollout.makers import NOW, desired, pod, seen
from tfmodel_operator.api.rollout_spec import Comparison, ComparisonPolicy, Strategy
from tfmodel_operator.plan.rollout import facts, strategies
from tfmodel_operator.plan.rollout.situation import situation

GIB = 1 << 30


def decide(memory=None, sizes=(GIB, GIB), replicas=1, **rollout):
    extra = {1: {"size_bytes": sizes[0]}, 2: {"size_bytes": sizes[1]}}
    found = seen(*(pod(name, {1: "AVAILABLE", 2: ""}, extra=extra) for name in "abc"[:replicas]))
    wish = desired(memory=memory or facts.Memory(), **{"strategy": Strategy.AUTO, **rollout})
    return strategies.decide(situation(wish, found, NOW), 2)


@pytest.mark.parametrize(
    ("given", "strategy", "reason"),
    [
        pytest.param({}, "InPlace", "there is no memory limit that two versions could exceed", id="no limit"),
        pytest.param(
            {"memory": facts.Memory(limit_bytes=4 * GIB)}, "InPlace",
            "versions 1 and 2 take about 3.5 GiB together, and the memory limit is 4 GiB", id="the limit holds both",
        ),
        pytest.param(
            {"memory": facts.Memory(limit_bytes=3 * GIB)}, "RollingUpdate",
            "versions 1 and 2 take about 3.5 GiB together, and the memory limit is 3 GiB", id="the limit holds one",
        ),
        pytest.param(
            {"memory": facts.Memory(limit_bytes=3 * GIB, recreate=True)}, "Recreate",
            "versions 1 and 2 take about 3.5 GiB together, and the memory limit is 3 GiB, and updateStrategy is Recreate",
            id="the limit holds one, and pods may stop first",
        ),
        pytest.param(
            {"memory": facts.Memory(accelerator="nvidia.com/mig-7g.80gb")}, "InPlace",
            "versions 1 and 2 take about 4 GiB together, and a device's memory is 80 GiB", id="a large device",
        ),
        pytest.param(
            {"memory": facts.Memory(accelerator="nvidia.com/gpu", fraction=0.45), "replicas": 2}, "RollingUpdate",
            "versions 1 and 2 take about 4 GiB together, and a device's memory, by memoryFraction 0.45, is 3.6 GiB", id="a share of it",
        ),
        pytest.param(
            {"memory": facts.Memory(accelerator="nvidia.com/mig-1g.5gb")}, "InPlace",
            "versions 1 and 2 take about 4 GiB together, and a device's memory is 5 GiB", id="a slice says its size by its name",
        ),
        pytest.param(
            {"memory": facts.Memory(accelerator="amd.com/gpu"), "sizes": (4 * GIB, GIB)}, "RollingUpdate",
            "versions 1 and 2 take about 8.5 GiB together, and a device's memory is 8 GiB", id="one of which nothing is known",
        ),
        pytest.param({"strategy": Strategy.RECREATE}, "Recreate", "strategy is Recreate", id="the user has decided"),
    ],
)  # fmt: skip
def test_auto_decides_by_memory_and_says_why(given, strategy, reason):
    decision = decide(**given)
    assert (decision.strategy, decision.reason, decision.blocked) == (strategy, reason, "")


def test_a_comparison_that_is_required_needs_both_versions_in_one_server():
    required = {"comparison": Comparison(ComparisonPolicy.REQUIRE)}
    assert decide(strategy=Strategy.IN_PLACE, **required).blocked == ""
    assert decide(strategy=Strategy.RECREATE, **required).blocked.endswith("choose InPlace, or comparison.policy Report")
    decision = decide(facts.Memory(limit_bytes=GIB), **required)
    assert "because versions 1 and 2 take about" in decision.blocked
