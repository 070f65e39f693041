"""What a version has to pass after loading, and what people do meanwhile."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play, serving_one
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy
from tfmodel_serving.model_config import Specific

# What has to be passed after loading.


def compared_equal(p: Play) -> None:
    """comparison: Require, and the answers are the same: alone first, then beside the old one."""
    serving_one(p)
    p.rollout("comparison: Require", comparison=Comparison(ComparisonPolicy.REQUIRE))
    p.put(2)
    p.settle()


def compared_different(p: Play) -> None:
    """comparison: Require, and the answers differ: no client ever gets them."""
    serving_one(p)
    p.rollout("comparison: Require", comparison=Comparison(ComparisonPolicy.REQUIRE))
    p.put(2, "which answers differently", difference=0.25)
    p.settle()


def compared_reported(p: Play) -> None:
    """comparison: Report, and the answers differ: it is said, and goes on."""
    serving_one(p)
    p.rollout("comparison: Report", comparison=Comparison(ComparisonPolicy.REPORT))
    p.put(2, "which answers differently", difference=0.25)
    p.settle()


def approved(p: Play) -> None:
    """approval: Manual: the candidate is loaded alone and waits."""
    serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.rollout("approvedVersion: 2", approved_version=2)
    p.settle()


def approval_withdrawn(p: Play) -> None:
    """An approval is taken back while the version is loading on all pods."""
    serving_one(p)
    p.rollout("approval: Manual, approvedVersion: 2", approval=Approval.MANUAL, approved_version=2)
    p.put(2, load_seconds=2.0)
    p.until("Growing")
    p.run(0.5)
    p.rollout("approvedVersion: null", approved_version=None)
    p.settle()


# Pause, undo.


def paused(p: Play) -> None:
    """A rollout is paused while the version loads on all pods, and goes on."""
    serving_one(p)
    p.put(2)
    p.until("Growing")
    p.rollout("paused: true", paused=True)
    p.settle()
    p.rollout("paused: false", paused=False)
    p.settle()


def undone_mid_rollout(p: Play) -> None:
    """Git goes back to the old version while the new one is loading."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2, load_seconds=2.0)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(1.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_mid_rollout_while_paused(p: Play) -> None:
    """The ways back stay open while paused."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(0.5)
    p.rollout("paused: true", paused=True)
    p.run(3.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_later(p: Play) -> None:
    """Git goes back after the new version was promoted: the old one is loaded again, and then the new one goes."""
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def undone_while_baking(p: Play) -> None:
    """Git goes back within bakeSeconds: the old version is still loaded."""
    p.rollout("bakeSeconds: 60", bake_seconds=60)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(6.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


# After promotion.


def baked(p: Play) -> None:
    """bakeSeconds: the old version stays loaded for a while; a version that comes meanwhile waits."""
    p.rollout("bakeSeconds: 15", bake_seconds=15)
    serving_one(p)
    p.put(2)
    p.run(8.0)
    p.put(3)
    p.settle()


def crashes_while_baking(p: Play) -> None:
    """The model server dies of what clients send to the new version, within bakeSeconds: it is taken back."""
    p.rollout("bakeSeconds: 120", bake_seconds=120)
    serving_one(p)
    p.put(2, "of which the server dies under traffic", deadly="traffic")
    p.settle(90.0)


def labelled_while_baking(p: Play) -> None:
    """A label that was put on the old version while the new one baked stays there when that is taken back."""
    p.rollout("bakeSeconds: 120", bake_seconds=120)
    serving_one(p)
    p.put(2, "of which the server dies under traffic later", deadly="traffic")
    p.edit("versionLabels {old: 1}", labels={"old": 1})
    p.until("Baking", 1.0)
    p.edit("versionLabels {old: 1, stable: 1}", labels={"old": 1, "stable": 1})
    p.settle(90.0)


def crashes_later(p: Play) -> None:
    """The same without bakeSeconds: there is no way back of itself, and a fix is not held up by the crashes."""
    serving_one(p)
    p.put(2, "of which the server dies under traffic", deadly="traffic")
    p.settle(40.0)
    p.put(3, "a fix")
    p.settle(90.0)
