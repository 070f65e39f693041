"""Verdicts on versions, row by row of what a real model server was seen to do with them."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import socket

import pytest

from tests import savedmodels
from tfmodel_serving import files, model_config, saved_model, wire
from tfmodel_serving.problems import Unsettled
from tfmodel_serving.saved_model import Settings, Verdict

SHARD = "variables/variables.data-00000-of-00001"
LATE = 60.0
"""Seconds after which a file that is cut short is taken for a fault."""


# -- good, or good enough for the real server ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(savedmodels.KINDS))
def test_what_tensorflow_writes_is_verified_without_a_warning(version, kind):
    found = version.place(kind).judged()
    assert (found.verdict, found.message, found.reason, found.warnings) == (Verdict.VERIFIED, "", "", ())
    assert "serving_default" in found.signatures
    assert found.size_bytes == sum(path.stat().st_size for path in version.path.rglob("*") if path.is_file())


def test_signatures_are_told_with_names_types_and_shapes(version):
    signatures = version.place().judged().signatures
    assert sorted(signatures) == ["classify_x_to_y", "regress_x_to_y", "serving_default"], "and not TensorFlow's own"
    predict, classify = signatures["serving_default"], signatures["classify_x_to_y"]
    assert (predict.method, classify.method) == ("tensorflow/serving/predict", "tensorflow/serving/classify")
    x = predict.inputs["x"]
    assert (x.dtype, x.shape, x.name) == ("DT_FLOAT", (-1,), "serving_default_x:0")
    assert (classify.inputs["inputs"].dtype, list(classify.outputs)) == ("DT_STRING", ["scores"])


def test_the_text_form_is_verified_and_says_the_same(version):
    binary = version.place().judged()
    text = version.damage("saved_model.pbtxt").judged()
    assert text.verdict is Verdict.VERIFIED
    assert text.signatures == binary.signatures


def test_a_model_read_in_pieces_says_the_same(version, monkeypatch):
    whole = version.place().judged()
    monkeypatch.setattr(wire, "RUN_BYTES", 200)
    in_pieces = version.judged()
    assert in_pieces.verdict is Verdict.VERIFIED
    assert in_pieces.signatures == whole.signatures
    version.damage("no variables")
    assert version.judged().verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize("name", ["00007", str(2**63 - 1)])
def test_odd_names_of_versions_are_judged_like_others(tmp_path, name):
    savedmodels.place("half_plus_two", tmp_path / name)
    model = model_config.Model("half", str(tmp_path))
    looks = saved_model.look(model, saved_model.look(model, {}, Settings(), 0.0), Settings(), 1.0)
    assert looks[int(name)].finding.verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("how", "warning"),
    [
        pytest.param("no variables.index", "variables/variables.index is missing; the model has no variables", id="no index"),
        pytest.param("no variables", None, id="no variables directory"),
    ],
)
def test_a_model_without_variables_needs_no_variables_index(version, how, warning):
    found = version.place("text").damage(how).judged(after=LATE)
    assert (found.verdict, found.warnings) == (Verdict.VERIFIED, (warning,) if warning else ())


def test_links_inside_the_base_path_are_followed(version):
    version.place()
    shared = version.base / "shared"
    (version.path / "variables").rename(shared)
    (version.path / "variables").symlink_to("../shared")
    (version.path / "fingerprint.pb").rename(shared / "fingerprint")
    (version.path / "fingerprint.pb").symlink_to(shared / "fingerprint")
    assert version.judged().verdict is Verdict.VERIFIED


def test_a_file_that_nothing_needs_and_nobody_may_read_is_a_warning(version, monkeypatch):
    version.place()
    unreadable(monkeypatch, version.path / "fingerprint.pb")
    found = version.judged(after=LATE)
    assert found.verdict is Verdict.VERIFIED
    assert found.warnings == (f"fingerprint.pb can't be read by user {os.geteuid()}; the model does not need it",)


def unreadable(monkeypatch, path):
    """Have ``path`` unreadable, which root can't be refused in earnest."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda other, mode: other != str(path) and access(other, mode))


# -- at rest -----------------------------------------------------------------------------------------------------------------


def test_the_files_of_a_version_at_rest_are_looked_at_seldom_and_the_version_itself_always(version):
    model = model_config.Model("half", str(version.place().base))
    looks: dict[int, saved_model.Look] = {}
    for now in (0.0, 1.0, 20.0):
        looks = saved_model.look(model, looks, Settings(), now)
    number = int(version.path.name)
    (version.path / SHARD).touch()
    resting = saved_model.look(model, looks, Settings(), 25.0, rest_seconds=10.0)
    assert resting == looks, "looked at 5 s ago"
    assert saved_model.look(model, resting, Settings(), 31.0, rest_seconds=10.0)[number].finding.verdict is Verdict.INCOMPLETE
    assert saved_model.look(model, resting, Settings(), 25.0)[number].finding.verdict is Verdict.INCOMPLETE
    version.path.rename(version.base / "gone")
    assert saved_model.look(model, looks, Settings(), 25.0, rest_seconds=10.0) == {}


def test_a_version_that_has_just_been_verified_is_not_at_rest(version):
    version.place()
    first = saved_model.look_at(str(version.base), version.path.name, None, Settings(), 0.0)
    second = saved_model.look_at(str(version.base), version.path.name, first, Settings(), 1.0, rest_seconds=10.0)
    (version.path / SHARD).touch()
    third = saved_model.look_at(str(version.base), version.path.name, second, Settings(), 2.0, rest_seconds=10.0)
    assert (second.finding.verdict, third.finding.verdict) == (Verdict.VERIFIED, Verdict.INCOMPLETE)


# -- half copied: it waits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no saved_model.pb", "saved_model.pb is missing"),
        ("empty directory", "saved_model.pb is missing"),
        ("no variables", "variables/variables.index is missing, and the model has variables"),
        ("no variables.index", "variables/variables.index is missing, and the model has variables"),
        ("no data shard", f"{SHARD} is missing"),
    ],
)
def test_a_version_that_lacks_a_file_is_incomplete_for_as_long_as_it_does(version, how, message):
    found = version.place().damage(how).judged(after=10 * LATE)
    assert (found.verdict, found.reason, found.message) == (Verdict.INCOMPLETE, "VersionIncomplete", message)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated saved_model.pb", r"saved_model\.pb is cut short: .*"),
        ("zero-length saved_model.pb", r"saved_model\.pb is empty"),
        ("truncated data shard", rf"{SHARD} has \d+ bytes of at least \d+"),
    ],
)
def test_a_file_that_is_cut_short_is_a_copy_at_first_and_a_fault_later(version, how, message):
    version.place().damage(how)
    soon, late = version.judged(after=5.0), version.judged(after=LATE)
    assert (soon.verdict, soon.reason) == (Verdict.INCOMPLETE, "VersionIncomplete")
    assert (late.verdict, late.reason) == (Verdict.REJECTED, "VersionRejected")
    assert soon.message == late.message
    assert re.fullmatch(message, late.message)


def test_every_prefix_of_a_copy_waits_and_the_whole_is_verified(tmp_path, version):
    source = savedmodels.place("half_plus_two", tmp_path / "source")
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for name in files:
        content = (source / name).read_bytes()
        (version.path / name).parent.mkdir(parents=True, exist_ok=True)
        for size in (0, len(content) // 2, len(content)):
            (version.path / name).write_bytes(content[:size])
            verdict = version.judged().verdict
            is_whole = name == files[-1] and size == len(content)
            assert verdict is (Verdict.VERIFIED if is_whole else Verdict.INCOMPLETE), f"{size} bytes of {name}"


@pytest.mark.parametrize("how", ["grows", "is replaced", "is touched", "appears", "goes"])
def test_a_version_whose_files_change_between_two_looks_is_incomplete(version, how):
    version.place()
    first = saved_model.look_at(str(version.base), "1", None, Settings(), 0.0)
    assert (first.finding.verdict, first.finding.message) == (Verdict.INCOMPLETE, files.FOUND), "nobody need be writing them"
    file = version.path / "fingerprint.pb"
    match how:
        case "grows":
            file.write_bytes(file.read_bytes() + b"x")
        case "is replaced":
            (version.base / "other").write_bytes(file.read_bytes())
            os.utime(version.base / "other", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
            (version.base / "other").replace(file)
        case "is touched":
            os.utime(file, ns=(0, 0))
        case "appears":
            (version.path / "other").touch()
        case "goes":
            file.unlink()
    second = saved_model.look_at(str(version.base), "1", first, Settings(), 1.0)
    assert (second.finding.verdict, second.finding.message) == (Verdict.INCOMPLETE, "files are still being written")
    assert saved_model.look_at(str(version.base), "1", second, Settings(), 2.0).finding.verdict is Verdict.VERIFIED


def test_a_later_look_at_unchanged_files_opens_none(version, monkeypatch):
    version.place()
    look = None
    for now in (0.0, 1.0):
        look = saved_model.look_at(str(version.base), "1", look, Settings(), now)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a file was opened"))
    again = saved_model.look_at(str(version.base), "1", look, Settings(), 2.0)
    assert again.finding == look.finding
    assert again.finding.verdict is Verdict.VERIFIED


def test_a_volume_that_fails_for_a_moment_takes_nothing_back(version, monkeypatch):
    version.place()
    look = None
    for now in (0.0, 1.0):
        look = saved_model.look_at(str(version.base), "1", look, Settings(), now)

    def failing(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "scandir", failing)
        assert saved_model.look_at(str(version.base), "1", look, Settings(), 2.0).finding.verdict is Verdict.VERIFIED
        unknown = saved_model.look_at(str(version.base), "1", None, Settings(), 2.0).finding
        assert (unknown.verdict, unknown.message) == (Verdict.INCOMPLETE, "the directory can't be listed: Input/output error")


def test_a_volume_that_fails_while_a_file_is_read_is_asked_again(version, monkeypatch):
    version.place()
    first = saved_model.look_at(str(version.base), "1", None, Settings(), 0.0)

    def failing(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        second = saved_model.look_at(str(version.base), "1", first, Settings(), LATE)
    assert (second.finding.verdict, second.finding.message) == (Verdict.INCOMPLETE, "saved_model.pb can't be read: Input/output error")
    assert saved_model.look_at(str(version.base), "1", second, Settings(), LATE).finding.verdict is Verdict.VERIFIED


def test_other_settings_are_judged_anew(version):
    version.place()
    look = None
    for now in (0.0, 1.0):
        look = saved_model.look_at(str(version.base), "1", look, Settings(), now)
    assert not look.finding.digest
    hashed = saved_model.look_at(str(version.base), "1", look, Settings(is_hashed=True), 2.0)
    assert hashed.finding.digest.startswith("sha256:")


# -- broken -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        pytest.param("garbage saved_model.pb", "saved_model.pb can't be parsed: ", id="garbage"),
        pytest.param("saved_model.pb is a FIFO", "saved_model.pb is not a regular file", id="a pipe, on which the server hangs"),
    ],
)
def test_what_no_copy_can_heal_is_rejected_at_once(version, how, message):
    found = version.place().damage(how).judged()
    assert (found.verdict, found.reason) == (Verdict.REJECTED, "VersionRejected")
    assert found.message.startswith(message)


def test_a_file_named_like_a_version_is_rejected(tmp_path):
    (tmp_path / "7").write_bytes(b"x")
    found = saved_model.look_at(str(tmp_path), "7", None, Settings(), 0.0).finding
    assert (found.verdict, found.message) == (Verdict.REJECTED, "it is not a directory")


def test_a_socket_is_rejected(version, monkeypatch):
    version.place()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(version.path)  # the path of a socket may have 108 bytes
        listening.bind("assets.sock")
        assert version.judged().message == "assets.sock is not a regular file"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("1/secret", "secret is a link that leaves {}"),
        ("1/variables/secret", "variables/secret is a link that leaves {}"),
        ("1", "it is behind a link that leaves {}"),
    ],
)
def test_a_link_out_of_the_base_path_is_rejected_and_never_followed(tmp_path, version, where, message):
    outside = savedmodels.place("half_plus_two", tmp_path / "outside")
    if where == "1":
        version.base.mkdir()
    else:
        version.place()
        outside = outside / "saved_model.pb"
    (version.base / where).symlink_to(outside)
    found = version.judged()
    assert (found.verdict, found.message) == (Verdict.REJECTED, message.format(version.base))
    assert version.judged(mount=str(version.base)).message == found.message
    assert version.judged(mount=str(tmp_path), is_hashed=True).verdict is Verdict.VERIFIED, "the whole volume is the model's"


def test_a_base_path_that_is_a_link_out_of_the_mount_is_not_read(tmp_path, version):
    savedmodels.place("half_plus_two", tmp_path / "outside/1")
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/models").symlink_to("../outside")
    listed = dataclasses.replace(version, base=tmp_path / "mount/models")
    assert listed.judged(mount=str(tmp_path / "mount")).message == f"it is behind a link that leaves {tmp_path}/mount"
    assert listed.judged(mount=str(tmp_path)).verdict is Verdict.VERIFIED


def test_links_in_a_circle_end_in_a_reason(version):
    version.place()
    (version.path / "variables/loop").symlink_to(version.path)
    assert version.judged().message == "variables/loop is a link to a directory above it"
    (version.path / "variables/loop").unlink()
    (version.path / "loop").symlink_to("loop")
    assert version.judged().message == "loop is a link in a circle"
    (version.base / "2").symlink_to("2")
    assert saved_model.look_at(str(version.base), "2", None, Settings(), 0.0).finding.message == "it is a link in a circle"


def test_a_link_to_nothing_waits_for_what_it_leads_to(version):
    version.place()
    (version.path / "saved_model.pb").rename(version.base / "model")
    (version.path / "saved_model.pb").symlink_to("../model.pb")
    assert version.judged().message == "saved_model.pb is a link to nothing"
    (version.base / "model").rename(version.base / "model.pb")
    assert version.judged().verdict is Verdict.VERIFIED


def test_too_many_files_and_too_deep_directories_end_in_a_reason(version, monkeypatch):
    version.place()
    deep = version.path.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    assert version.judged().message == "it holds more than 32 levels of directories"
    monkeypatch.setattr("tfmodel_serving.files.MAX_FILES", 5)
    assert version.judged().message.startswith("it holds more than 5 files")


def test_a_file_that_is_needed_and_may_not_be_read_is_rejected_in_the_end(version, monkeypatch):
    version.place()
    unreadable(monkeypatch, version.path / SHARD)
    assert version.judged(after=1.0).verdict is Verdict.INCOMPLETE, "tar and rsync set the mode last"
    assert version.judged(after=LATE).message == f"{SHARD} can't be read by user {os.geteuid()}"


class Calls:
    """The calls that may fail on a volume, counted; one of them does."""

    NAMES = ("stat", "lstat", "readlink", "open", "pread", "fstat", "scandir")

    def __init__(self, monkeypatch, failing=None, error=0):
        self.count, self._failing, self._error = 0, failing, error
        for name in self.NAMES:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))

    def step(self):
        self.count += 1
        if self.count == self._failing:
            raise OSError(self._error, os.strerror(self._error))

    def _counted(self, call):
        def counted(*arguments, **keywords):
            self.step()
            return call(*arguments, **keywords)

        return counted


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT, errno.ELOOP], ids=errno.errorcode.get)
def test_a_volume_that_fails_at_any_call_ends_in_a_reason(version, error):
    version.place().warm(savedmodels.predict_record(x=[1.0]))

    def look(failing):
        with pytest.MonkeyPatch.context() as monkeypatch:
            calls = Calls(monkeypatch, failing, error)
            try:
                return calls, version.judged(is_hashed=True)
            finally:
                monkeypatch.undo()

    calls, found = look(failing=None)
    assert found.verdict is Verdict.VERIFIED
    assert calls.count > 50
    for failing in range(1, calls.count + 1):
        _, found = look(failing)
        assert found.verdict is Verdict.VERIFIED or found.message, f"call {failing}"


def test_a_directory_that_may_be_listed_and_not_entered_is_rejected_in_the_end(version, monkeypatch):
    version.place()
    real = os.lstat

    def lstat(path, **keywords):
        if str(path).startswith(f"{version.base}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, **keywords)

    monkeypatch.setattr(os, "lstat", lstat)
    assert version.judged(after=1.0).verdict is Verdict.INCOMPLETE
    found = version.judged(after=LATE)
    assert (found.verdict, found.message) == (Verdict.REJECTED, f"it can't be looked at by user {os.geteuid()}")


def test_a_pipe_or_another_file_put_in_place_between_look_and_reading_is_not_read(tmp_path, version):
    version.place()
    outside = tmp_path / "outside"
    outside.write_bytes((version.path / "saved_model.pb").read_bytes())
    listing = files.scan(str(version.base), "1")
    for put in (os.mkfifo, lambda path: os.link(outside, path), lambda path: path.symlink_to(outside)):
        (version.path / "saved_model.pb").unlink()
        put(version.path / "saved_model.pb")
        with pytest.raises(Unsettled), files.opened(listing, "saved_model.pb"):
            pytest.fail("it was opened")


def test_a_directory_that_is_moved_out_of_the_base_path_and_linked_back_is_not_read(tmp_path, version):
    version.place()
    listing = files.scan(str(version.base), "1")
    (version.path / "variables").rename(tmp_path / "outside")
    (version.path / "variables").symlink_to(tmp_path / "outside")  # the very same files, but no longer below the base path
    with pytest.raises(Unsettled), files.opened(listing, SHARD):
        pytest.fail("it was opened")


def test_a_file_that_changes_while_it_is_read_is_told(version):
    version.place()
    listing = files.scan(str(version.base), "1")
    model = version.path / "saved_model.pb"
    with pytest.raises(Unsettled, match="still being written"), files.opened(listing, model.name), model.open("ab") as file:
        file.write(b"x")


def test_a_file_that_changes_while_others_are_read_is_told(version, monkeypatch):
    version.place()
    shard, pread = version.path / SHARD, os.pread

    def reading(descriptor, length, at):
        if not shard.read_bytes().endswith(b"more"):
            with shard.open("ab") as file:
                file.write(b"more")
        return pread(descriptor, length, at)

    monkeypatch.setattr(os, "pread", reading)
    found = version.judged()
    assert (found.verdict, found.message) == (Verdict.INCOMPLETE, files.WRITTEN)
