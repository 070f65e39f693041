"""The first version of a model."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play
from tfmodel_operator.api.rollout_spec import Approval
from tfmodel_serving.model_config import Specific


def first_latest(p: Play) -> None:
    """The first version under latest: the agents choose it, and the operator pins what serves."""
    p.put(1)
    p.settle()


def first_specific(p: Play) -> None:
    """The first versions, named by number; one of them is not there yet."""
    p.edit("versionPolicy: specific [1, 2]", policy=Specific((1, 2)))
    p.put(1)
    p.settle()
    p.put(2)
    p.settle()


def first_is_broken(p: Play) -> None:
    """The first version can't be loaded; a second one can."""
    p.put(1, "which the server can't load", sound=False)
    p.settle()
    p.put(2)
    p.settle()


def first_needs_approval(p: Play) -> None:
    """The first version, with approval: Manual: it is served to nobody until a person says so."""
    p.rollout("approval: Manual", approval=Approval.MANUAL)
    p.put(1)
    p.settle()
    p.rollout("approvedVersion: 1", approved_version=1)
    p.settle()


def first_while_paused(p: Play) -> None:
    """A new model whose rollout is paused serves nothing until it goes on."""
    p.rollout("paused: true", paused=True)
    p.put(1)
    p.settle()
    p.rollout("paused: false", paused=False)
    p.settle()
