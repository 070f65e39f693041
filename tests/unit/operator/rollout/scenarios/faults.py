"""Pods come and go, and the operator is killed, or its records are lost."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play, serving_one
from tfmodel_operator.api.rollout_spec import Strategy

# Pods come and go.


def scaled_mid_rollout(p: Play) -> None:
    """Replicas go from two to three while a version is loading."""
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("replicas: 3", lambda: setattr(p.cluster, "replicas", 3))
    p.settle()


def scaled_to_zero(p: Play) -> None:
    """A version is dropped while there are no pods: nobody has verified it, so pods start with the old one."""
    serving_one(p)
    p.happens("replicas: 0", lambda: setattr(p.cluster, "replicas", 0))
    p.run(2.0)
    p.put(2)
    p.settle()
    p.happens("replicas: 2", lambda: setattr(p.cluster, "replicas", 2))
    p.settle()


def pod_replaced_mid_rollout(p: Play) -> None:
    """A pod is deleted while a version is loading."""
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("pod-1 is deleted", lambda: p.cluster.remove(p.pod))
    p.settle()


def server_restarts_mid_rollout(p: Play) -> None:
    """A model server ends by itself, once, while a version is loading."""
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the model server of pod-1 ends", p.pod.crash)
    p.settle()


def agent_restarts_mid_rollout(p: Play) -> None:
    """An agent forgets everything while a version is loading."""
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the agent of pod-1 restarts", p.pod.restart_agent)
    p.settle()


def agent_is_silent(p: Play) -> None:
    """The agent of a ready pod can't be reached for longer than the deadline: nothing moves, and no version is blamed."""
    p.rollout("progressDeadlineSeconds: 10", progress_deadline_seconds=10)
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("pod-1 is not heard any more", lambda: setattr(p.pod, "muted_until", float("inf")))
    p.settle()
    p.happens("pod-1 is heard again", lambda: setattr(p.pod, "muted_until", 0.0))
    p.settle()


# The operator.


def operator_killed(p: Play) -> None:
    """The operator is killed between its two writes of a rolling update."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.cluster.kill_after = 1
    p.put(2)
    p.settle()


def record_lost_while_growing(p: Play) -> None:
    """The record is lost while a version is loading on all pods: the config says what is promoted, and the clock starts anew."""
    serving_one(p)
    p.put(2, load_seconds=2.0)
    p.until("Growing", 0.5)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_while_baking(p: Play) -> None:
    """The record is lost while the old version is still loaded: the way back is shorter than it should be, and that is all."""
    p.rollout("bakeSeconds: 60", bake_seconds=60)
    serving_one(p)
    p.put(2)
    p.run(6.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", "{"))
    p.settle()


def record_lost_while_replacing(p: Play) -> None:
    """The record is lost during a rolling update to a version that can't be loaded: what the old pods serve is what is promoted."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2, "which the server can't load", sound=False, load_seconds=3.0)
    p.until("Replacing", 2.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_while_replacing_a_good_one(p: Play) -> None:
    """The record is lost during a rolling update to a good version."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2, load_seconds=3.0)
    p.until("Replacing", 5.0)
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def record_lost_with_quarantine(p: Play) -> None:
    """The record of a quarantined version is lost: it is tried once more, and no client notices."""
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()
    p.happens("the record is lost", lambda: setattr(p.cluster, "record", ""))
    p.settle()


def config_lost(p: Play) -> None:
    """The ConfigMap is deleted, and the record with it: what the pods serve is what is promoted."""
    serving_one(p)

    def lose() -> None:
        p.cluster.maps.clear()
        p.cluster.record = ""

    p.happens("the ConfigMap is deleted", lose)
    p.settle()
