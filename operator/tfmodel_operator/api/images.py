"""Images of the model server: the default ones, and what a reference tells about a version."""

from __future__ import annotations

import re

DEFAULT = "tensorflow/serving:2.19.1"
"""With `-gpu` where there is an accelerator. Part of the template's revision: another default is another revision."""

_TAG_VERSION = re.compile(r"^v?([0-9]+)\.([0-9]+)(?:[^0-9].*)?$")


def default(*, accelerated: bool) -> str:
    """Return the image of servers whose spec names none."""
    return f"{DEFAULT}-gpu" if accelerated else DEFAULT


def version(reference: str) -> tuple[int, int] | None:
    """Return major and minor version of the server in an image, or None: its tag doesn't tell, or there is only a digest."""
    name = reference.partition("@")[0].rpartition("/")[2]
    found = _TAG_VERSION.match(name.partition(":")[2])
    return (int(found[1]), int(found[2])) if found else None
