"""Changes of the mounted files are heard of at once, or looked for."""

from __future__ import annotations

import asyncio
import ctypes

import pytest

from tfmodel_agent import inotify


def swap(directory, content):
    """Change a mounted ConfigMap as the kubelet does."""
    made = directory / f"..{content}"
    made.mkdir()
    (made / "models.config").write_text(content)
    (directory / "..data_tmp").symlink_to(made.name)
    (directory / "..data_tmp").rename(directory / "..data")


@pytest.mark.parametrize("change", [lambda path: swap(path, "b"), lambda path: (path / "models.config").write_text("b")])
def test_a_change_is_heard_of(tmp_path, change):
    swap(tmp_path, "a")

    async def scene():
        watch = inotify.Watch(tmp_path)
        await asyncio.sleep(0.05)
        assert not watch.changed.is_set()
        change(tmp_path)
        await asyncio.wait_for(watch.changed.wait(), 10)
        watch.close()

    asyncio.run(scene())


def test_without_a_watch_to_be_had_nothing_is_heard_of_and_nothing_breaks(tmp_path, monkeypatch, caplog):
    class Refusing:
        def inotify_init1(self, flags):
            ctypes.set_errno(24)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *arguments, **options: Refusing())

    async def scene():
        watch = inotify.Watch(tmp_path)
        swap(tmp_path, "a")
        await asyncio.sleep(0.05)
        assert not watch.changed.is_set()
        watch.close()

    asyncio.run(scene())
    assert "Directory can't be watched" in caplog.text


def test_a_directory_that_is_not_there_is_not_watched(tmp_path):
    async def scene():
        inotify.Watch(tmp_path / "missing").close()

    asyncio.run(scene())
