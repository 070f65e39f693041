"""A good version, and a bad one."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play, serving_one
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, OnFailure
from tfmodel_serving.model_config import Specific

# A good version.


def drop_good(p: Play) -> None:
    """A good version is dropped on the volume, under latest."""
    serving_one(p)
    p.put(2)
    p.settle()


def edit_good(p: Play) -> None:
    """A good version is asked for in Git."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.settle()


def slow_mount(p: Play) -> None:
    """One pod sees the new version later than the other, which waits for it."""
    p.cluster.lags = [3.0, 0.0]
    serving_one(p)
    p.put(2)
    p.settle()


def slow_kubelet(p: Play) -> None:
    """One pod gets every config two seconds later than the other."""
    p.cluster.delays = [0.1, 2.0]
    serving_one(p)
    p.put(2)
    p.settle()


def three_at_once(p: Play) -> None:
    """Three versions are dropped at once: only the newest one is rolled out."""
    serving_one(p)
    for version in (2, 3, 4):
        p.put(version)
    p.settle()


def three_at_once_newest_broken(p: Play) -> None:
    """Three versions are dropped at once, and the newest can't be loaded: the one below it is next."""
    serving_one(p)
    p.put(2)
    p.put(3)
    p.put(4, "which the server can't load", sound=False)
    p.settle()


def newer_one_overtakes(p: Play) -> None:
    """A newer version comes while one waits for approval: it takes its place, and the approval of the old one is worth nothing."""
    serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.put(3)
    p.settle()
    p.rollout("approvedVersion: 2", approved_version=2)
    p.settle()
    p.rollout("approvedVersion: 3", approved_version=3)
    p.settle()


def half_copied(p: Play) -> None:
    """A version appears file by file: nothing happens until it is complete."""
    serving_one(p)
    p.put(2, "half copied", complete=False)
    p.settle()
    p.put(2, "complete")
    p.settle()


# A bad version.


def fails_to_load(p: Play) -> None:
    """A version that can't be loaded is taken out, and not tried again."""
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def repaired(p: Play) -> None:
    """The files of a quarantined version change: it is tried again."""
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.put(2, "repaired")
    p.settle()


def retried(p: Play) -> None:
    """A quarantined version is tried again when somebody asks: once for each time it is asked."""
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.edit('annotation retry: "2"', retry="2")
    p.settle()
    p.edit('annotation retry: "2 again"', retry="2 again")
    p.settle()


def deleted_mid_load(p: Play) -> None:
    """The new version is deleted from the volume while it is being loaded."""
    serving_one(p)
    p.put(2, load_seconds=3.0)
    p.until("Growing", 1.0)
    p.remove(2)
    p.settle()


def too_slow(p: Play) -> None:
    """A version takes longer to load than progressDeadlineSeconds."""
    p.rollout("progressDeadlineSeconds: 10", progress_deadline_seconds=10)
    serving_one(p)
    p.put(2, "which takes a minute to load", load_seconds=60.0)
    p.settle()


def fails_on_one_pod(p: Play) -> None:
    """The files on one pod's mount are older than on the other's: what it sees there can't be loaded."""
    p.cluster.lags = [6.0, 0.0]
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.run(1.0)
    p.put(2, "repaired")
    p.run(12.0)
    p.settle()


def crashes_when_loaded(p: Play) -> None:
    """The model server dies of the new version: it is taken out when the kubelet says CrashLoopBackOff."""
    serving_one(p)
    p.put(2, "of which the server dies", deadly="load")
    p.settle()


def held(p: Play) -> None:
    """onFailure: Hold: a version whose answers differ stays loaded under its private name, until another one comes."""
    serving_one(p)
    p.rollout(
        "onFailure: Hold, comparison: Require",
        on_failure=OnFailure.HOLD,
        comparison=Comparison(ComparisonPolicy.REQUIRE),
    )
    p.put(2, "which answers differently", difference=0.25)
    p.settle()
    p.put(3)
    p.settle()
