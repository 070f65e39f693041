"""The view: directories of links that the model server polls instead of the volume.

For each model `ROOT/NAME` holds one link per version that was verified, to the version directory on the volume. The
server therefore never lists the volume itself: a missing base path can't stall it (one stalls the discovery of all
models), a half copied or stray directory doesn't exist for it, and a version whose directory is deleted on the volume, or
a volume that is emptied or gone, unloads nothing, because its link is still there.

Source: tensorflow/serving, sources/storage_path/file_system_storage_path_source.cc: children are listed by name and never
opened until they are loaded.
"""

from __future__ import annotations

from pathlib import Path


class View:
    """The links below ``root``, a directory that agent and model server see under the same path."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def base_path(self, name: str) -> str:
        """Return the base path the model server is given for model ``name``."""
        return str(self.root / name)

    def link(self, name: str, version: int, directory: str) -> None:
        """Make version ``version`` of model ``name`` lead to ``directory``; a link that does already is left alone."""
        path = self.root / name / str(version)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() and str(path.readlink()) == directory:
            return
        staged = self.root / f".{name}-{version}"
        staged.unlink(missing_ok=True)
        staged.symlink_to(directory)
        staged.replace(path)  # atomic: the server polls this directory at any moment
