"""What a pod template follows from beside spec: which agent, and which revision of the builders here.

Both are recorded on the Deployment. As long as spec gives the template that was applied with them, they are kept: so an upgrade
of the operator, or another agent image, restarts no model server. Once spec asks for another template, or the user for the
upgrade, the pods are replaced anyway and follow the operator's own platform.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from tfmodel_operator.api import labels
from tfmodel_operator.plan import mounted

REVISION = 1
"""Of the builders of the template and of the default images. Who changes what they make of an unchanged spec keeps the old
way beside the new one, under the next number, and lets the builders choose by it. One that this operator doesn't know, because
a newer one has been here, is kept as long as it comes to the same."""

Template = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Platform:
    """The operator, as far as it shows in what it makes.

    Args:
        agent_image: Image of the agents.
        namespace: Where the operator runs; ``""``: outside the cluster. Not recorded: no template has it.
    """

    agent_image: str
    namespace: str = ""
    revision: int = REVISION


def record(platform: Platform) -> str:
    """Return the text of the annotation."""
    return json.dumps({"agentImage": platform.agent_image, "revision": platform.revision}, sort_keys=True)


def recorded(deployment: Mapping[str, Any] | None) -> Platform | None:
    """Return the platform that ``deployment`` was made with, or None: it can't be told."""
    text = ((deployment or {}).get("metadata", {}).get("annotations") or {}).get(labels.PLATFORM, "")
    try:
        found = json.loads(text)
        platform = Platform(str(found["agentImage"]), revision=int(found["revision"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # anybody may have written anything there
        return None
    return platform if platform.agent_image else None


def choose(
    build: Callable[[Platform], Template], live: Mapping[str, Any] | None, current: Platform, *, upgrade: bool
) -> tuple[Platform, Template]:
    """Return the platform to use and the template it gives.

    Args:
        build: Makes the template of an unchanging spec.
        live: The Deployment as it is.
        upgrade: Take the operator's platform at once.
    """
    before = None if upgrade else recorded(live)
    if before is not None and live is not None:
        template = hashed(build(before))
        if hash_of(template) == hash_of(live["spec"]["template"]):
            return before, template
    return current, hashed(build(current))


def hashed(template: Template) -> Template:
    """Return ``template`` with its own hash as an annotation, by which its pods are known."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]
    metadata = template["metadata"]
    return {**template, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), labels.TEMPLATE: digest}}}


def mark_of(made: Mapping[str, Any]) -> str | None:
    """Return what tells ``made``, a template or a pod, from those of another template or another fixed config."""
    found = hash_of(made)
    return found and f"{found} {mounted.fixed_name(made)}".rstrip()


def hash_of(made: Mapping[str, Any]) -> str | None:
    """Return the hash of the template that ``made``, a template or a pod, carries; None: it is older than these hashes."""
    found = ((made.get("metadata") or {}).get("annotations") or {}).get(labels.TEMPLATE)
    return str(found) if found else None
