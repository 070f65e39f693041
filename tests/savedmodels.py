"""SavedModels and warm-up files for tests and demos, good and bad.

Models are made by TensorFlow, in a process of its own (its import takes five seconds) and once per machine: they are
kept in a cache, from where :func:`place` copies them::

    savedmodels.place("half_plus_two", base_path / "1")
    savedmodels.write_warmup(base_path / "1", [savedmodels.predict_record(x=[1.0])])

    $ python -m tests.savedmodels half_plus_two /models/half/1        # the same from a shell

A model says which one it is by its answers: half_plus_two gives 0.5 x + 2, half_plus_three 0.5 x + 3, and so on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.modelserver import crc32c

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# -- making models, with TensorFlow ----------------------------------------------------------------------------------


def _half_plus(intercept: float) -> Callable[[Any, str], None]:
    """The model TensorFlow Serving tests with: predict, classify and regress with y = 0.5 x + intercept."""

    def save(tf: Any, path: str) -> None:
        module = tf.Module()
        module.slope = tf.Variable(0.5)
        module.intercept = tf.Variable(intercept)

        def line(x: Any) -> Any:
            return module.slope * x + module.intercept

        def parsed(examples: Any) -> Any:
            return line(tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32, 0.0)})["x"])

        floats = tf.TensorSpec([None], tf.float32, name="x")
        examples = tf.TensorSpec([None], tf.string, name="inputs")
        predict = tf.function(lambda x: {"y": line(x)}, input_signature=[floats])
        classify = tf.function(lambda inputs: {"scores": parsed(inputs)}, input_signature=[examples])
        regress = tf.function(lambda inputs: {"outputs": parsed(inputs)}, input_signature=[examples])
        module.predict, module.classify, module.regress = predict, classify, regress
        signatures = {"serving_default": predict, "classify_x_to_y": classify, "regress_x_to_y": regress}
        tf.saved_model.save(module, path, signatures=signatures)
        _set_method_names(path, {"classify_x_to_y": "classify", "regress_x_to_y": "regress"})

    return save


def _set_method_names(path: str, methods: dict[str, str]) -> None:
    """Give signatures the method names of TF1 exports; ``tf.saved_model.save`` calls them all predict."""
    from tensorflow.core.protobuf import saved_model_pb2  # type: ignore[import-untyped]

    file = Path(path) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for name, method in methods.items():
        model.meta_graphs[0].signature_def[name].method_name = f"tensorflow/serving/{method}"
    file.write_bytes(model.SerializeToString(deterministic=True))


def _text(tf: Any, path: str) -> None:
    """Strings in, strings and lengths out; no variables at all."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="text")
    module.shout = tf.function(
        lambda text: {"upper": tf.strings.upper(text), "raw_bytes": text, "length": tf.strings.length(text)},
        input_signature=[spec],
    )
    tf.saved_model.save(module, path, signatures={"serving_default": module.shout})


def _two_inputs(tf: Any, path: str) -> None:
    """A batch of rows and a batch of weights: x [n, 2] float, z [n] int64."""
    module = tf.Module()
    module.bias = tf.Variable([1.0, -1.0])
    specs = [tf.TensorSpec([None, 2], tf.float32, name="x"), tf.TensorSpec([None], tf.int64, name="z")]
    module.weigh = tf.function(
        lambda x, z: {"sum": tf.reduce_sum(x + module.bias, axis=1) * tf.cast(z, tf.float32), "z": z},
        input_signature=specs,
    )
    tf.saved_model.save(module, path, signatures={"serving_default": module.weigh})


def _slow(plus: float) -> Callable[[Any, str], None]:
    """Answers 0.5 x + ``plus`` after as many milliseconds as the first x says: for what must be caught in the act.

    With a warmup record that says so, loading it takes as long.
    """

    def save(tf: Any, path: str) -> None:
        module = tf.Module()

        def wait(x: Any) -> Any:
            start = tf.timestamp()
            until = tf.cast(x[0], tf.float64) / 1000.0
            waited = tf.while_loop(lambda n: tf.timestamp() - start < until, lambda n: [n + 1], [tf.constant(0)])
            with tf.control_dependencies(waited):
                return {"y": 0.5 * x + plus}

        module.wait = tf.function(wait, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        tf.saved_model.save(module, path, signatures={"serving_default": module.wait})

    return save


def _half_plus_two_once(init_op: Callable[[Any], Any]) -> Callable[[Any, str], None]:
    """A model whose files are sound, and whose init op does something first: no look at the files tells what."""

    def save(tf: Any, path: str) -> None:
        v1 = tf.compat.v1
        with tf.Graph().as_default():
            x = v1.placeholder(tf.float32, [None], name="x")
            y = tf.identity(0.5 * x + 2.0, name="y")
            once = tf.group(init_op(tf))
            builder = v1.saved_model.builder.SavedModelBuilder(path)
            with v1.Session() as session:
                signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
                builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=once)
            builder.save()

    return save


def _two_outputs(tf: Any, path: str) -> None:
    """half_plus_two with one output more."""
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, name="x")
    module.both = tf.function(lambda x: {"y": 0.5 * x + 2.0, "twice": 2.0 * x}, input_signature=[spec])
    tf.saved_model.save(module, path, signatures={"serving_default": module.both})


def _picky(tf: Any, path: str) -> None:
    """half_plus_two that fails where an x is 100 or more."""
    module = tf.Module()

    def answer(x: Any) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less(x, 100.0, message="x is too large")]):
            return {"y": 0.5 * x + 2.0}

    module.answer = tf.function(answer, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, path, signatures={"serving_default": module.answer})


def _deadly(tf: Any, path: str) -> None:
    """half_plus_three that ends the process where an x is 100 or more: neither its files nor its load tell."""
    module = tf.Module()

    def abort() -> Any:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the end of the process that is asked")]):
            return tf.constant(0.0)

    def answer(x: Any) -> Any:
        return {"y": 0.5 * x + 3.0 + tf.cond(tf.reduce_any(x >= 100.0), abort, lambda: tf.constant(0.0))}

    module.answer = tf.function(answer, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    tf.saved_model.save(module, path, signatures={"serving_default": module.answer})


def _classifier(*weights: float) -> Callable[[Any, str], None]:
    """Scores of three classes for each x: the softmax of x times the weights."""

    def save(tf: Any, path: str) -> None:
        module = tf.Module()
        module.weights = tf.Variable([weights])
        spec = tf.TensorSpec([None], tf.float32, name="x")
        module.score = tf.function(
            lambda x: {"scores": tf.nn.softmax(x[:, None] * module.weights), "class": tf.argmax(x[:, None] * module.weights, 1)},
            input_signature=[spec],
        )
        tf.saved_model.save(module, path, signatures={"serving_default": module.score})

    return save


KINDS: dict[str, Callable[[Any, str], None]] = {
    "aborts": _half_plus_two_once(lambda tf: tf.raw_ops.Abort(error_msg="the end of the process that loads it")),
    "hangs": _half_plus_two_once(lambda tf: tf.queue.FIFOQueue(1, [tf.float32]).dequeue()),
    "fails": _half_plus_two_once(lambda tf: tf.debugging.Assert(tf.constant(False), ["not today"])),
    "half_plus_two": _half_plus(2.0),
    "half_plus_three": _half_plus(3.0),
    "half_plus_four": _half_plus(4.0),
    "text": _text,
    "two_inputs": _two_inputs,
    "slow": _slow(2.0),
    "slow_plus_hundred": _slow(100.0),
    "two_outputs": _two_outputs,
    "picky": _picky,
    "deadly": _deadly,
    "classifier": _classifier(1.0, 2.0, 3.0),
    "classifier_turned": _classifier(3.0, 2.0, 1.0),
}


def make(kinds: Iterable[str], directory: Path) -> None:
    """Make models as ``directory/<kind>``, in this process: imports TensorFlow."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf  # type: ignore[import-untyped]

    for kind in kinds:
        KINDS[kind](tf, str(directory / kind))


# -- using them, without ---------------------------------------------------------------------------------------------


def cache() -> Path:
    """Return the directory with one model of each kind, making it first where need be.

    It lies outside the checkout ($TFMODEL_CACHE, else ~/.cache/tfmodel) and is named after this file's content.
    """
    home = Path(os.environ.get("TFMODEL_CACHE") or Path.home() / ".cache" / "tfmodel")
    content = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    ready = home / f"savedmodels-{content}"
    if ready.is_dir():
        return ready
    home.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="savedmodels-", dir=home))
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-m", "tests.savedmodels", "--all", str(scratch)], check=True, cwd=root)
    scratch.chmod(0o755)
    with contextlib.suppress(OSError):  # another process was faster; its result is as good
        scratch.rename(ready)
    shutil.rmtree(scratch, ignore_errors=True)
    return ready


def place(kind: str, version_directory: Path) -> Path:
    """Copy a model to ``version_directory`` and return that."""
    source = cache() / kind
    version_directory.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, version_directory)
    return version_directory


def spoil(version_directory: Path, how: str) -> Path:
    """Damage a placed model in one of the ways a copy or a disk does.

    Args:
        how: A key of :data:`DAMAGES`.
    """
    DAMAGES[how](version_directory)
    return version_directory


def _truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _empty(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def _to_text(directory: Path) -> None:
    from google.protobuf import text_format

    from tests.modelserver.protos import saved_model_pb2

    file = directory / "saved_model.pb"
    text = text_format.MessageToString(saved_model_pb2.SavedModel.FromString(file.read_bytes()))
    file.with_suffix(".pbtxt").write_text(text)
    file.unlink()


_SHARD = "variables.data-00000-of-00001"

DAMAGES: dict[str, Callable[[Path], None]] = {
    "no saved_model.pb": lambda path: (path / "saved_model.pb").unlink(),
    "empty directory": _empty,
    "truncated saved_model.pb": lambda path: _truncate(path / "saved_model.pb"),
    "garbage saved_model.pb": lambda path: _overwrite(path / "saved_model.pb", b"\xff" * 64),
    "zero-length saved_model.pb": lambda path: _overwrite(path / "saved_model.pb", b""),
    "saved_model.pb is a FIFO": lambda path: _pipe(path / "saved_model.pb"),
    "saved_model.pbtxt": _to_text,  # no damage: the other form that is read
    "no variables": lambda path: shutil.rmtree(path / "variables"),
    "no variables.index": lambda path: (path / "variables" / "variables.index").unlink(),
    "no data shard": lambda path: (path / "variables" / _SHARD).unlink(),
    "truncated data shard": lambda path: _truncate(path / "variables" / _SHARD),
}


def _overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


# -- warm-up files ---------------------------------------------------------------------------------------------------


def write_warmup(version_directory: Path, records: Sequence[Any]) -> Path:
    """Write the version's warm-up file: PredictionLog messages, or raw bytes as they are; return its path."""
    raw = [record if isinstance(record, bytes) else record.SerializeToString() for record in records]
    return write_warmup_file(version_directory, b"".join(map(framed, raw)))


def write_warmup_file(version_directory: Path, content: bytes) -> Path:
    """Write ``content`` as the version's warm-up file, whatever it is."""
    path = version_directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def framed(record: bytes, *, length: int | None = None, length_crc: int | None = None, crc: int | None = None) -> bytes:
    """Return a record as TFRecord frames it; each part of the frame can be forged."""
    header = struct.pack("<Q", len(record) if length is None else length)
    header += struct.pack("<I", crc32c.masked(header) if length_crc is None else length_crc)
    return header + record + struct.pack("<I", crc32c.masked(record) if crc is None else crc)


def predict_record(signature_name: str = "", model: str = "any", **inputs: Any) -> Any:
    """Return a PredictionLog with a PredictRequest; values are lists or numpy arrays, floats as float32."""
    from tests.modelserver import tensors
    from tests.modelserver.protos import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature_name
    for name, values in inputs.items():
        tensors.to_proto(tensors.from_values(values), request.inputs[name])
    return log


def example_record(method: str, signature_name: str, *xs: float) -> Any:
    """Return a PredictionLog with a classify or regress request, one tf.Example {x} for each number."""
    from tests.modelserver.protos import prediction_log_pb2

    log = prediction_log_pb2.PredictionLog()
    request = getattr(log, f"{method}_log").request
    request.model_spec.name, request.model_spec.signature_name = "any", signature_name
    for x in xs:
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(x)
    return log


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.savedmodels", description=__doc__)
    parser.add_argument("kind", nargs="?", choices=sorted(KINDS))
    parser.add_argument("directory", type=Path, help="the version directory to make; with --all, one that gets them all")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    if arguments.all:
        make(KINDS, arguments.directory)
    elif arguments.kind:
        place(arguments.kind, arguments.directory)
    else:
        parser.error("name a kind, or --all")


if __name__ == "__main__":
    _main()
