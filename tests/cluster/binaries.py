"""Build Kubernetes, helm, kwok and the pause process with the Go toolchain; nothing else of them is to be had offline.

All are static (CGO_ENABLED=0), so the same files run on the host and in the node.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.cluster import pins
from tests.cluster.cache import PATH, built, content_hash, run

HERE = Path(__file__).parent
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")


def kubernetes() -> Path:
    """Return a directory with a link for each of ``COMPONENTS`` to the one binary that is all of them."""
    source = HERE / "kubernetes"
    major, minor = pins.KUBERNETES.removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    flags = f"-s -w -X {package}.gitVersion={pins.KUBERNETES} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"

    def build(directory: Path) -> None:
        run(["go", "build", "-trimpath", "-ldflags", flags, "-o", str(directory / "kubernetes"), "."],
            cwd=source, env={"CGO_ENABLED": "0"})
        for component in COMPONENTS:
            (directory / component).symlink_to("kubernetes")

    files = [source / name for name in ("main.go", "go.mod", "go.sum")]
    return built("kubernetes", content_hash(flags, *files), build, "8 minutes on 2 cores; seconds when Go has it cached")


def helm() -> Path:
    """Return the path of helm; it believes offline (``helm template``) to talk to our Kubernetes version."""
    major, minor = pins.KUBERNETES.removeprefix("v").split(".")[:2]
    flags = (f"-s -w -X helm.sh/helm/v3/internal/version.version={pins.HELM} "
             f"-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor={major} "
             f"-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor={minor} "
             f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor={major} "
             f"-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={minor}")
    return _installed("helm", f"helm.sh/helm/v3/cmd/helm@{pins.HELM}", flags)


def kwok() -> Path:
    """Return the path of kwok, the controller behind fake nodes."""
    return _installed("kwok", f"sigs.k8s.io/kwok/cmd/kwok@{pins.KWOK}",
                      f"-s -w -X sigs.k8s.io/kwok/pkg/consts.Version={pins.KWOK}")


def pause() -> Path:
    """Return the path of the process that holds a pod's namespaces."""
    source = HERE / "pause" / "main.go"

    def build(directory: Path) -> None:
        run(["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(directory / "pause"), str(source)],
            env={"CGO_ENABLED": "0"})

    return built("pause", content_hash(source), build, "5 seconds") / "pause"


def kubernetes_command(component: str) -> Path:
    """Return the path of a Kubernetes component: from $KUBEBUILDER_ASSETS where it is there, else our own build.

    Honoured for the components that envtest ships (kube-apiserver, kubectl), as controller-runtime's envtest does.
    """
    given = _asset(component)
    return given or kubernetes() / component


def etcd() -> str:
    """Return etcd's path: from $KUBEBUILDER_ASSETS, else from PATH (Debian package etcd-server)."""
    return str(_asset("etcd") or shutil.which("etcd", path=PATH) or "etcd")


def _asset(name: str) -> Path | None:
    directory = os.environ.get("KUBEBUILDER_ASSETS")
    path = Path(directory) / name if directory else None
    return path if path and path.is_file() else None


def _installed(name: str, package: str, flags: str) -> Path:
    def build(directory: Path) -> None:
        run(["go", "install", "-trimpath", "-ldflags", flags, package],
            env={"CGO_ENABLED": "0", "GOBIN": str(directory)})

    return built(name, content_hash(package, flags), build, "1 to 2 minutes; seconds when Go has it cached") / name
