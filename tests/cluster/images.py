"""Build container images without any registry: a Debian base by debootstrap, Dockerfiles by buildah.

An image is a ``docker-archive`` in the cache, named by a hash of its inputs: the Dockerfile, the files it copies, the
build arguments (with the base's own hash among them). Nothing of this machine's pip settings and certificates gets into
an image: they are mounted while a ``RUN`` step works.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, pins
from tests.cluster.cache import cache_dir, content_hash, locked, run, say, step
from tests.cluster.errors import CommandFailed, ComponentFailed

CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# Empty in the base image, so that the mounts of a build leave no trace.
MOUNT_POINTS = ("etc/pip.conf", "var/cache/pip/")
NOT_IN_BASE = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./var/cache/apt", "./var/lib/apt/lists",
               "./var/cache/debconf", "./var/log", "./dev", "./proc", "./sys")
KEEP_ARCHIVES = 4  # of each image; older ones are deleted when a new one is built


@dataclass(frozen=True)
class Image:
    """A built image: ``archive`` holds it under ``reference``, whose tag is the hash of its inputs."""

    name: str
    key: str
    archive: Path

    @property
    def reference(self) -> str:
        """Where it is called this way: in the archive, in buildah's storage and in containerd."""
        return f"localhost/tfmodel/{self.name}:{self.key}"


def base_image() -> Image:
    """Return a minimal Debian with Python; the default ``BASE_IMAGE`` of ``build_image``.

    Built by debootstrap once (about a minute, from the mirror debootstrap knows); then imported into buildah's storage.
    """
    image = _image("base", content_hash(pins.DEBIAN_SUITE, *pins.DEBIAN_PACKAGES, *MOUNT_POINTS, *NOT_IN_BASE, "1"))

    def build() -> None:
        with step("Building the base image", "1 minute"), tempfile.TemporaryDirectory(dir=cache_dir()) as directory:
            rootfs, layer = Path(directory, "rootfs"), Path(directory, "rootfs.tar")
            # In mount namespaces of their own, like buildah below: a killed build leaves no mount behind.
            run(["unshare", "--mount", "debootstrap", "--variant=minbase",
                 f"--include={','.join(pins.DEBIAN_PACKAGES)}", pins.DEBIAN_SUITE, str(rootfs)])
            for point in MOUNT_POINTS:
                (rootfs / point).mkdir(parents=True, exist_ok=True) if point.endswith("/") else (rootfs / point).touch()
            run(["tar", "--create", "--file", str(layer), "--sort=name", "--numeric-owner", "--one-file-system",
                 *(f"--exclude={path}/*" for path in NOT_IN_BASE), "--directory", str(rootfs), "."])
            shutil.rmtree(rootfs)
            _bud(image, "FROM scratch\nADD rootfs.tar /\nCMD [\"/bin/bash\"]\n", Path(directory), {}, mounts=())

    return _once(image, build)


def pause_image() -> Image:
    """Return the image of a pod's sandbox; written by ourselves, as one static file needs no builder."""
    program = binaries.pause()
    image = _image("pause", content_hash(program, "1"))

    def build() -> None:
        layer = _tar({"pause": program.read_bytes()})
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535"},
                             "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}})
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [image.reference], "Layers": ["layer.tar"]}])
        unfinished = image.archive.with_suffix(".new")
        unfinished.write_bytes(_tar({"config.json": config.encode(), "layer.tar": layer, "manifest.json": manifest.encode()}))
        unfinished.rename(image.archive)

    return _once(image, build)


def build_image(name: str, dockerfile: Path, context: Path, build_args: Mapping[str, str] | None = None) -> Image:
    """Build a Dockerfile, or return what was built from the same inputs before.

    Args:
        name: Short name; archives and references are named by it.
        context: The directory its COPY paths are relative to.
        build_args: ``BASE_IMAGE`` defaults to ``base_image()``.

    Raises:
        ComponentFailed: buildah failed; the error names its log and carries the end of it.
    """
    arguments = {"BASE_IMAGE": base_image().reference, **(build_args or {})}
    text = dockerfile.read_text()
    files = [part for path in _copied(text, context) for part in (str(path.relative_to(context)), path)]
    image = _image(name, content_hash(text, json.dumps(arguments, sort_keys=True), *files))

    def build() -> None:
        with step(f"Building the image {name}", "1 to 10 minutes, by what it installs; seconds from cached layers"):
            _bud(image, text, context, arguments, _pip_mounts())

    return _once(image, build)


def _once(image: Image, build: Callable[[], None]) -> Image:
    """Build an image if it isn't there; one build at a time, as they share buildah's storage and both cores."""
    if not image.archive.exists():
        with locked(cache_dir() / "images.lock"):
            if not image.archive.exists():
                image.archive.parent.mkdir(parents=True, exist_ok=True)
                build()
        archives = sorted(image.archive.parent.glob(f"{image.name}-{'?' * 12}.tar"), key=lambda path: path.stat().st_mtime)
        for outdated in archives[:-KEEP_ARCHIVES]:
            say(f"Deleting the outdated image {outdated.name}")
            outdated.unlink()
    return image


def _bud(image: Image, dockerfile: str, context: Path, arguments: Mapping[str, str],
         mounts: Sequence[tuple[Path, str]]) -> None:
    """Run buildah and save the archive, in a mount namespace where the records of its mounts are thrown away as well."""
    storage, unfinished = cache_dir() / "buildah", image.archive.with_suffix(".new")
    (storage / "run").mkdir(parents=True, exist_ok=True)
    unfinished.unlink(missing_ok=True)
    file = storage / "Dockerfile"
    file.write_text(dockerfile)
    tool = shlex.join(["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"),
                       "--storage-driver", "overlay"])
    script = f"mount -t tmpfs tmpfs {shlex.quote(str(storage / 'run'))}\n"
    if base := arguments.get("BASE_IMAGE", "").startswith("localhost/tfmodel/base:") and base_image():
        # Its archive outlives buildah's storage, which anybody may delete to gain space.
        script += (f"{tool} inspect --type image {base.reference} >/dev/null 2>&1 "
                   f"|| {tool} pull docker-archive:{shlex.quote(str(base.archive))}\n")
    volumes = [f"--volume={source}:{target}{'' if source.is_dir() else ':ro'}" for source, target in mounts]
    script += tool + " " + shlex.join([
        "bud", "--isolation", "chroot", "--network", "host", "--layers", "--pull-never", "--format", "docker", *volumes,
        *(f"--build-arg={key}={value}" for key, value in arguments.items()),
        "--tag", image.reference, "--file", str(file), str(context)]) + "\n"
    script += f"{tool} {shlex.join(['push', image.reference, f'docker-archive:{unfinished}:{image.reference}'])}\n"
    log = cache_dir() / "images" / f"{image.name}.log"
    try:
        run(["unshare", "--mount", "sh", "-ec", f"exec >{shlex.quote(str(log))} 2>&1\n{script}"], env={"TMPDIR": str(storage)})
    except CommandFailed as error:
        raise ComponentFailed(f"building the image {image.name}", "failed", log) from error
    unfinished.rename(image.archive)


def _pip_mounts() -> list[tuple[Path, str]]:
    """Return (ours, theirs) of what lets pip work in a RUN step as it does on this machine.

    pip's own settings come from its environment (PIP_INDEX_URL and the like) and are handed over as a file.
    """
    directory = cache_dir() / "buildah"
    (cache_dir() / "pip").mkdir(parents=True, exist_ok=True)
    settings = {key.removeprefix("PIP_").lower().replace("_", "-"): value for key, value in os.environ.items()
                if re.fullmatch(r"PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|PROXY|DEFAULT_TIMEOUT|RETRIES)", key)}
    settings |= {"cache-dir": "/var/cache/pip"}
    mounts = [(cache_dir() / "pip", "/var/cache/pip")]
    bundles = (os.environ.get(key, "") for key in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    bundle = next((path for path in (*bundles, CA_BUNDLE) if path and Path(path).is_file()), None)
    if bundle:
        mounts.append((Path(bundle), CA_BUNDLE))
        settings["cert"] = CA_BUNDLE
    configuration = directory / "pip.conf"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    return [*mounts, (configuration, "/etc/pip.conf")]


def _copied(dockerfile: str, context: Path) -> list[Path]:
    """Return the files of the context that a Dockerfile takes in: they, and no others, are its input."""
    found: set[Path] = set()
    for line in re.sub(r"\\\n", " ", dockerfile).splitlines():
        bound = re.findall(r"--mount=(type=bind\S*)", line)
        sources = [match[1] for option in bound if "from=" not in option
                   if (match := re.search(r"(?:source|src)=([^,]+)", option))]
        words = line.split()
        if words and words[0].upper() in ("COPY", "ADD") and not any(word.startswith("--from=") for word in words):
            paths = json.loads(line[line.index("["):]) if "[" in line else [w for w in words[1:] if w[:2] != "--"]
            sources += paths[:-1]
        for source in sources:
            inside = source.lstrip("/").removeprefix("./").rstrip("/")
            found.update(context.glob(inside) if inside not in ("", ".") else [context])
    files = {file for path in found for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()}
    # What Python, git and the tools leave in the tree decides nothing; a Dockerfile that takes `.` would see it.
    return sorted(file for file in files | set(context.glob(".dockerignore"))
                  if not any(part == "__pycache__" or (part[:1] == "." and part != ".dockerignore")
                             for part in file.relative_to(context).parts))


def _image(name: str, key: str) -> Image:
    return Image(name, key, cache_dir() / "images" / f"{name}-{key}.tar")


def _tar(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of executable files that depends on their names and contents only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
