"""A real Kubernetes cluster inside this machine, shared by the tests, the demo and the benchmarks.

    from tests.cluster import EmbeddedCluster

    with EmbeddedCluster(nodes="kubelet") as cluster:
        cluster.load_image(build_image("operator", Path("Dockerfile"), Path(".")), "docker.io/tfmodel/operator:dev")
        cluster.kubectl("apply", "-f", "manifest.yaml")

Reading order: cluster.py (lifecycle), sandbox.py (namespaces), network.py, controlplane.py, node.py, runtime.py (images in
the node), images.py (building them), binaries.py, prerequisites.py. ``python -m tests.cluster --help`` is the same by hand.
"""

from tests.cluster.cluster import AUDIT_METADATA, EmbeddedCluster
from tests.cluster.errors import ClusterError, CommandFailed, ComponentFailed, MissingPrerequisite, WaitTimeout
from tests.cluster.images import Image, base_image, build_image

__all__ = [
    "AUDIT_METADATA", "ClusterError", "CommandFailed", "ComponentFailed", "EmbeddedCluster", "Image", "MissingPrerequisite",
    "WaitTimeout", "base_image", "build_image",
]
