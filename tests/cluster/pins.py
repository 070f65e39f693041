"""Every version this package builds or installs, in one place.

Changing one of them changes the key of what is built from it, so that the next start builds it anew.
"""

from __future__ import annotations

KUBERNETES = "v1.34.4"  # must be what kubernetes/go.mod requires (a test compares them)
HELM = "v3.19.0"
KWOK = "v0.7.0"

MIN_PYTHON = (3, 11)
# kubernetes/go.mod asks for it; a go command that may fetch toolchains is not counted on.
MIN_GO = (1, 24)

# The base of all images: the Debian release with Python 3.11, and what the images need at run time.
DEBIAN_SUITE = "bookworm"
DEBIAN_PACKAGES = ("ca-certificates", "python3", "python3-venv")
