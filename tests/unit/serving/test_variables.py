"""The checkpoint index, and the shards it names: files made by TensorFlow, and damaged by hand."""

from __future__ import annotations

import struct

import google_crc32c
import pytest

from tfmodel_serving import files, tfrecord, variables, wire
from tfmodel_serving.problems import Broken, Problem, Unfinished
from tfmodel_serving.saved_model import Verdict

INDEX = "variables/variables.index"


def sharded(path, sizes):
    """A checkpoint with one shard for each list of variable sizes, written and merged by TensorFlow."""
    import tensorflow as tf

    prefixes = []
    for shard, numbers in enumerate(sizes):
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{path.parent}/part-{shard}"
        tensors = [tf.zeros([size], tf.uint8) for size in numbers] or [tf.zeros([], tf.uint8)]
        names = [f"{index:05}-{shard}-{'x' * 90}" for index in range(len(tensors))]
        tf.raw_ops.SaveV2(prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors)
        prefixes.append(prefix)
    path.mkdir()
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=prefixes, destination_prefix=str(path / "variables"))


def read(version):
    with files.opened(files.scan(str(version.base), str(version.number)), INDEX) as window:
        return variables.read(window)


@pytest.fixture
def three_shards(version):
    sharded(version.path / "variables", [[10, 20], [30], [40]])
    return version


def test_the_index_of_tensorflow_says_which_shards_there_are_and_how_long(three_shards):
    index = read(three_shards)
    assert index.shards == 3
    assert {number: three_shards.path.joinpath(variables.shard_name(number, 3)).stat().st_size for number in range(3)} == index.needed


def test_every_shard_must_be_there_and_long_enough(three_shards):
    index = read(three_shards)
    whole = {variables.shard_name(number, 3): size for number, size in index.needed.items()}
    assert variables.check(index, whole) == []
    assert variables.check(index, {name: size + 1 for name, size in whole.items()}) == []
    for name in whole:
        with pytest.raises(Problem, match=f"{name} is missing"):
            variables.check(index, {other: size for other, size in whole.items() if other != name})
        with pytest.raises(Unfinished, match=rf"{name} has \d+ bytes of at least \d+"):
            variables.check(index, whole | {name: whole[name] - 1})


def test_a_shard_that_holds_nothing_may_be_missing():
    index = variables.Index(2, {0: 4})
    assert variables.check(index, {variables.shard_name(0, 2): 4}) == [
        "variables/variables.data-00001-of-00002 is missing, but no variable is in it"
    ]


def test_an_index_of_many_blocks_is_read(version):
    sharded(version.path / "variables", [[1] * 4_000])
    assert (version.path / INDEX).stat().st_size > 256 << 10
    assert read(version).needed == {0: 4_000}


def test_without_its_sizes_the_names_of_the_shards_must_do():
    names = {variables.shard_name(number, 3): 1 for number in range(3)}
    variables.check_names(names)
    for name in list(names)[:2]:
        with pytest.raises(Problem, match=f"{name} is missing"):
            variables.check_names({other: 1 for other in names if other != name})
    with pytest.raises(Problem, match="is missing"):
        variables.check_names({})


@pytest.mark.parametrize("size", [0, 1, 47, 48, 100])
def test_an_index_that_is_cut_short_may_still_be_copied(version, size):
    file = version.place().path / INDEX
    file.write_bytes(file.read_bytes()[:size])
    assert version.judged().verdict is Verdict.INCOMPLETE
    assert version.judged(after=60.0).verdict is Verdict.REJECTED


def test_a_flipped_bit_of_an_index_ends_in_a_reason(version):
    """Every block carries a checksum; what is after the blocks' handles in the footer is padding."""
    file = version.place().path / INDEX
    good = file.read_bytes()
    footer = len(good) - 48
    meta_index = wire.varint(good, footer)[0]  # the block that TensorFlow doesn't read either
    for at in [*range(meta_index), *range(len(good) - 8, len(good))]:
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises((Broken, Unfinished), match=r"variables\.index"):
            read(version)


def test_blocks_that_are_named_twice_are_refused(version):
    """So that a small file can't be read for ever."""
    def block(*entries):
        content = b"".join(bytes([0, len(key), len(value)]) + key + value for key, value in entries) + struct.pack("<II", 0, 1)
        return content + b"\0" + struct.pack("<I", tfrecord.masked(google_crc32c.value(content + b"\0")))

    data = block((b"", b"\x08\x01"))
    handle = bytes([0, len(data) - 5])
    index = block(*[(b"z", handle)] * 3)
    footer = bytes([0, 0, len(data), len(index) - 5]).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    file = version.place().path / INDEX
    file.write_bytes(data + index + footer)
    with pytest.raises(Broken, match="out of order"):
        read(version)
