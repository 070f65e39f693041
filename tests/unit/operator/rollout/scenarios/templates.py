"""Other pods: templates and strategies."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play, serving_one
from tfmodel_operator.api.rollout_spec import Approval, Comparison, ComparisonPolicy, Strategy
from tfmodel_operator.plan.rollout import facts
from tfmodel_serving.model_config import Specific

GIB = 1 << 30


def template_and_version(p: Play) -> None:
    """Image and version change in one commit: the pods first, with the old version, then the version."""
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def template_during_trial(p: Play) -> None:
    """The image changes while a candidate waits for approval: the trial makes way, and begins again."""
    serving_one(p)
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(2)
    p.settle()
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def rolling_update(p: Play) -> None:
    """strategy: RollingUpdate: new pods load the new version while the old ones serve."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2)
    p.settle()


def rolling_update_fails(p: Play) -> None:
    """strategy: RollingUpdate, and the version can't be loaded: no old pod has gone."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def rolling_update_fails_later(p: Play) -> None:
    """strategy: RollingUpdate, and a later version can't be loaded: the pods that served stay, until its files are mended."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2)
    p.settle()
    p.put(3, "which the server can't load", sound=False)
    p.settle()
    p.put(3, "mended")
    p.settle()


def rolling_update_with_template(p: Play) -> None:
    """strategy: RollingUpdate, image and version in one commit: both in one."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.settle()


def rolling_update_compared(p: Play) -> None:
    """strategy: RollingUpdate with comparison: Require: there is no model server that has both."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE, comparison=Comparison(ComparisonPolicy.REQUIRE))
    serving_one(p)
    p.put(2)
    p.settle()


def rolling_update_undone(p: Play) -> None:
    """strategy: RollingUpdate, and Git goes back while pods are being replaced."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [2]", policy=Specific((2,)))
    p.run(3.0)
    p.edit("versionPolicy: specific [1]", policy=Specific((1,)))
    p.settle()


def recreate(p: Play) -> None:
    """strategy: Recreate: the old pods stop, then the new ones start; nothing serves in between."""
    p.rollout("strategy: Recreate", strategy=Strategy.RECREATE)
    serving_one(p)
    p.put(2)
    p.settle()


def recreate_fails(p: Play) -> None:
    """strategy: Recreate, and the version can't be loaded: the old one comes back."""
    p.rollout("strategy: Recreate", strategy=Strategy.RECREATE)
    serving_one(p)
    p.put(2, "which the server can't load", sound=False)
    p.settle()


def in_place_after_rolling_update(p: Play) -> None:
    """The strategy becomes InPlace after a rolling update: pods get a config that can be changed in place first."""
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2)
    p.settle()
    p.rollout("strategy: InPlace", strategy=Strategy.IN_PLACE)
    p.put(3)
    p.settle()


def auto_in_place(p: Play) -> None:
    """strategy: Auto, and the memory limit holds both versions."""
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("memory limit: 4Gi", memory=facts.Memory(limit_bytes=4 * GIB))
    p.put(1, size=GIB)
    p.settle()
    p.put(2, size=GIB)
    p.settle()


def auto_rolling_update(p: Play) -> None:
    """strategy: Auto, and the memory limit doesn't hold both versions."""
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("memory limit: 3Gi", memory=facts.Memory(limit_bytes=3 * GIB))
    p.put(1, size=GIB)
    p.settle()
    p.put(2, size=GIB)
    p.settle()


def auto_waits_for_accelerator(p: Play) -> None:
    """strategy: Auto, one GPU, one replica, and no memory for two versions: the new pod waits until another GPU is free."""
    p.cluster.replicas = p.cluster.slots = 1
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    p.edit("accelerator: nvidia.com/mig-1g.10gb", memory=facts.Memory(accelerator="nvidia.com/mig-1g.10gb"))
    p.put(1, size=4 * GIB)
    p.settle()
    p.put(2, size=4 * GIB)
    p.settle()
    p.happens("a second GPU is free", lambda: setattr(p.cluster, "slots", 2))
    p.settle()


def auto_recreate(p: Play) -> None:
    """strategy: Auto, one GPU, one replica, no memory for two versions, and updateStrategy: Recreate."""
    p.cluster.replicas = p.cluster.slots = 1
    p.rollout("strategy: Auto", strategy=Strategy.AUTO)
    memory = facts.Memory(accelerator="nvidia.com/mig-3g.16gb", fraction=0.45, recreate=True)
    p.edit("accelerator: nvidia.com/mig-3g.16gb, memoryFraction 0.45, updateStrategy: Recreate", memory=memory)
    p.put(1, size=2 * GIB)
    p.settle()
    p.put(2, size=3 * GIB)
    p.settle()


def unschedulable_and_mended(p: Play) -> None:
    """strategy: RollingUpdate, and no node has room for the new pod until spec asks for other pods: those come first."""
    p.cluster.slots = 2
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE)
    serving_one(p)
    p.put(2)
    p.settle(20.0)
    p.happens("image: image-2", lambda: setattr(p.cluster, "spec_template", "image-2"))
    p.run(3.0)
    p.happens("the pods of that one fit", lambda: setattr(p.cluster, "slots", 4))
    p.settle()


def unschedulable(p: Play) -> None:
    """strategy: RollingUpdate, and no GPU is free for the new pod: the deadline doesn't count, and the old pods serve."""
    p.cluster.slots = 2
    p.edit("accelerator: nvidia.com/gpu", memory=facts.Memory(accelerator="nvidia.com/gpu"))
    p.rollout("strategy: RollingUpdate", strategy=Strategy.ROLLING_UPDATE, progress_deadline_seconds=10)
    serving_one(p)
    p.put(2)
    p.settle(20.0)
    p.happens("a third GPU is free", lambda: setattr(p.cluster, "slots", 3))
    p.settle()
