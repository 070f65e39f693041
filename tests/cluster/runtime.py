"""Images inside a node: imported into containerd once, kept from run to run.

What containerd holds for a slot outlives the clusters that use it, so that a gigabyte of TensorFlow is imported once.
Containers of an earlier cluster are in there, too, dead; they are removed before the kubelet and containerd's CRI part
could see them.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.cluster.cache import step
from tests.cluster.errors import CommandFailed
from tests.cluster.images import Image
from tests.cluster.sandbox import Sandbox

NAMESPACE = "k8s.io"  # the one containerd's CRI part uses
WITHOUT_CRI = 'version = 2\noom_score = 0\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


class Runtime:
    """containerd of one cluster."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def ctr(self, *arguments: str, timeout: float = 600) -> str:
        """Run ctr in Kubernetes' namespace and return its stdout."""
        return self.sandbox.run("ctr", "--namespace", NAMESPACE, *arguments, timeout=timeout)

    def answers(self) -> bool:
        """Say whether containerd is ready."""
        try:
            self.sandbox.run("ctr", "version", timeout=5)
        except CommandFailed:
            return False
        return True

    def remove_containers(self) -> None:
        """Remove all containers with their snapshots; none may run."""
        if containers := self.ctr("containers", "list", "--quiet").split():
            self.ctr("containers", "remove", *containers)

    def load(self, image: Image, reference: str | None = None) -> None:
        """Import an image unless it is there, and let it be called ``reference`` as well.

        Raises:
            CommandFailed: containerd refused the archive or the reference.
        """
        images = self.ctr("images", "list", "--quiet").split()
        if image.reference not in images:
            size = image.archive.stat().st_size / 1e6
            with step(f"Importing the image {image.name} into the node", f"{1 + size / 40:.0f} s for its {size:.0f} MB"):
                self.ctr("images", "import", str(image.archive))
            # Another build of the same image is of no use to anybody now; containerd frees its layers by and by.
            outdated = [each for each in images if each.startswith(image.reference.rpartition(":")[0] + ":")]
            if outdated:
                self.ctr("images", "remove", *outdated)
        if reference:
            self.ctr("images", "tag", "--force", image.reference, normalized(reference))


def normalized(reference: str) -> str:
    """Return an image reference as the kubelet asks for it: with registry, path and tag.

    Source: github.com/distribution/reference, normalize.go.
    """
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif not re.search(r"[.:]", first) and first != "localhost":
        reference = f"docker.io/{reference}"
    tagged = "@" in reference or ":" in reference.rpartition("/")[2]
    return reference if tagged else f"{reference}:latest"


def mark(root: Path) -> bool:
    """Mark a slot's containerd directory as used, and say whether it was before: then it may hold old containers."""
    marker = root / "used"
    was = marker.exists()
    root.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return was
