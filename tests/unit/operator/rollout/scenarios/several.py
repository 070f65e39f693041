"""Several versions at once, and labels."""

from __future__ import annotations

from tests.unit.operator.rollout.scenarios.play import Play, serving_one
from tfmodel_serving.model_config import All, Latest, Specific

# Several versions.


def all_with_one_broken(p: Play) -> None:
    """`all`, and one of three can't be loaded."""
    p.edit("versionPolicy: all", policy=All())
    serving_one(p)
    p.put(2)
    p.put(3, "which the server can't load", sound=False)
    p.put(4)
    p.settle()


def latest_two(p: Play) -> None:
    """`latest` 2: the oldest goes when the newest is promoted, not before."""
    p.edit("versionPolicy: latest 2", policy=Latest(2))
    p.put(1)
    p.put(2)
    p.settle()
    p.put(3)
    p.settle()
    p.edit("versionPolicy: latest 1", policy=Latest(1))
    p.settle()


def specific_swap(p: Play) -> None:
    """Two versions named by number are replaced by two others, one after the other."""
    p.edit("versionPolicy: specific [1, 2]", policy=Specific((1, 2)))
    for version in (1, 2, 3, 4):
        p.put(version)
    p.settle()
    p.edit("versionPolicy: specific [3, 4]", policy=Specific((3, 4)))
    p.settle()


def not_there(p: Play) -> None:
    """Git asks for a version that isn't on the volume: what serves goes on."""
    serving_one(p)
    p.edit("versionPolicy: specific [7]", policy=Specific((7,)))
    p.settle()


def vanishes(p: Play) -> None:
    """The promoted version is deleted from the volume: it is kept while it serves; a pod that needs it falls back."""
    p.put(1)
    p.put(2)
    p.settle()
    p.remove(2)
    p.settle()
    p.happens("pod-1 is deleted", lambda: p.cluster.remove(p.pod))
    p.settle()


def volume_emptied(p: Play) -> None:
    """The volume is emptied: nothing is unloaded."""
    serving_one(p)
    p.remove(1)
    p.settle()


# Labels.


def labels_move(p: Play) -> None:
    """The user's labels: `next` is set once its version is promoted."""
    p.edit("versionPolicy: specific [1], versionLabels {stable: 1}", policy=Specific((1,)), labels={"stable": 1})
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionPolicy: specific [1, 2], versionLabels {stable: 1, next: 2}", policy=Specific((1, 2)), labels={"stable": 1, "next": 2})
    p.settle()


def labels_swap(p: Play) -> None:
    """Two labels change places, in one push."""
    p.edit("specific [1, 2], versionLabels {a: 1, b: 2}", policy=Specific((1, 2)), labels={"a": 1, "b": 2})
    p.put(1)
    p.put(2)
    p.settle()
    p.edit("versionLabels {a: 2, b: 1}", labels={"a": 2, "b": 1})
    p.settle()


def label_without_version(p: Play) -> None:
    """A label is moved to a version that isn't served: it stays where it is."""
    p.edit("versionLabels {stable: 1}", labels={"stable": 1})
    serving_one(p)
    p.edit("versionLabels {stable: 9}", labels={"stable": 9})
    p.settle()


def label_keeps_the_old(p: Play) -> None:
    """A label names the old version: it stays loaded beside the new one."""
    p.edit("versionLabels {stable: 1}", labels={"stable": 1})
    serving_one(p)
    p.put(2)
    p.settle()
    p.edit("versionLabels {stable: 2}", labels={"stable": 2})
    p.settle()
