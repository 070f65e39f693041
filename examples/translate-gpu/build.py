"""Builds two small translation models, `enko` (English to Korean) and `koen` (back), as SavedModels with warmup requests.

    $ pip install tensorflow
    $ python build.py models          # makes models/enko/1 and models/koen/1, about 20 s on a CPU

They are what a large model is, only small: an encoder and a decoder with attention, a vocabulary in a lookup table, a loop that
writes word by word until the end of the sentence, trained here on the phrases below. Strings go in and strings come out, so a
client needs no tokeniser. Words are CPU work; the rest runs on a GPU where there is one.

Equal versions of TensorFlow make equal weights. Before anything is written the models must translate every phrase.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

SUBJECTS = {"i": "나는", "we": "우리는", "they": "그들은", "my friends": "내 친구들은"}
PREDICATES = {
    "drink water": "물을 마십니다",
    "drink coffee": "커피를 마십니다",
    "read a book": "책을 읽습니다",
    "learn korean": "한국어를 배웁니다",
    "live in seoul": "서울에 삽니다",
}
PHRASES = {
    "hello": "안녕하세요",
    "thank you": "감사합니다",
    "good morning": "좋은 아침입니다",
    "see you tomorrow": "내일 만나요",
    "how much is it": "얼마예요",
    "where is the station": "역이 어디에 있어요",
    "the weather is nice today": "오늘 날씨가 좋아요",
    **{f"{who} {does}": f"{wer} {tut}" for who, wer in SUBJECTS.items() for does, tut in PREDICATES.items()},
}

SIZE = 48
STEPS = 250
MAX_WORDS = 8
END, UNKNOWN = "</s>", "<unk>"  # ids 0 and 1; the end is what a translation starts from, too


class GRU(tf.Module):
    """A gated recurrent unit: one step of reading or writing."""

    def __init__(self, inputs: int, seed: int) -> None:
        super().__init__()
        self.gates = weights(inputs + SIZE, 2 * SIZE, seed)
        self.candidate = weights(inputs + SIZE, SIZE, seed + 1)

    def __call__(self, x: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        update, reset = tf.split(tf.sigmoid(tf.concat([x, state], 1) @ self.gates), 2, axis=1)
        proposed = tf.tanh(tf.concat([x, reset * state], 1) @ self.candidate)
        return update * state + (1.0 - update) * proposed


class Translator(tf.Module):
    """Encoder, attention and decoder over words."""

    def __init__(self, phrases: dict[str, str]) -> None:
        super().__init__()
        source, target = vocabulary(phrases), vocabulary(phrases.values())
        self.source_words, self.source_ids = source, table(source)
        self.target_words, self.target_ids = tf.constant(target), table(target)
        self.source_vectors, self.target_vectors = weights(len(source), SIZE, 1), weights(len(target), SIZE, 2)
        self.encoder, self.decoder = GRU(SIZE, 3), GRU(2 * SIZE, 5)
        self.output = weights(2 * SIZE, len(target), 7)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def translate(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Translate a batch of sentences, greedily; `score` is the mean log probability of the words chosen."""
        memory, mask, state = self.encode(text)
        batch = tf.shape(text)[0]
        written = tf.TensorArray(tf.int32, MAX_WORDS)
        score, ended, word = tf.zeros([batch]), tf.zeros([batch], tf.bool), tf.zeros([batch], tf.int32)
        length = tf.zeros([batch])
        for step in tf.range(MAX_WORDS):
            state, logits = self.write(word, state, memory, mask)
            word = tf.where(ended, 0, tf.argmax(logits, axis=1, output_type=tf.int32))
            chosen = tf.gather(tf.nn.log_softmax(logits), word, axis=1, batch_dims=1)
            score += tf.where(ended, 0.0, chosen)
            length += tf.where(ended, 0.0, 1.0)
            ended = tf.logical_or(ended, tf.equal(word, 0))
            written = written.write(step, word)
        words = tf.transpose(written.stack())
        texts = tf.where(tf.equal(words, 0), "", tf.gather(self.target_words, words))
        return {"translation": tf.strings.strip(tf.strings.reduce_join(texts, axis=1, separator=" ")), "score": score / length}

    def encode(self, text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return what was read at each word, which of the words are there, and the state after the last one."""
        ids = self.ids(text, self.source_ids)
        vectors = tf.gather(self.source_vectors, ids)
        state, memory = tf.zeros([tf.shape(ids)[0], SIZE]), []
        for position in range(MAX_WORDS):
            is_word = tf.not_equal(ids[:, position, None], 0)
            state = tf.where(is_word, self.encoder(vectors[:, position], state), state)
            memory.append(state)
        return tf.stack(memory, axis=1), tf.not_equal(ids, 0), state

    def write(self, word: tf.Tensor, state: tf.Tensor, memory: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the next state and the logits of the next word."""
        scores = tf.einsum("bs,bts->bt", state, memory) / math.sqrt(SIZE)
        attention = tf.nn.softmax(tf.where(mask, scores, -1e9))
        context = tf.einsum("bt,bts->bs", attention, memory)
        state = self.decoder(tf.concat([tf.gather(self.target_vectors, word), context], 1), state)
        return state, tf.concat([state, context], 1) @ self.output

    def ids(self, text: tf.Tensor, words: tf.lookup.StaticHashTable) -> tf.Tensor:
        """Return word numbers [batch, MAX_WORDS], 0 after the last word; longer sentences are cut."""
        plain = tf.strings.regex_replace(tf.strings.lower(text, encoding="utf-8"), r"[[:punct:]]", " ")
        split = tf.strings.split(tf.strings.strip(plain))
        return words.lookup(split.to_tensor(END, shape=[None, MAX_WORDS]))

    @tf.function
    def loss(self, text: tf.Tensor, expected: tf.Tensor) -> tf.Tensor:
        """Return the mean cross entropy of writing ``expected``, each word with the right one before it."""
        memory, mask, state = self.encode(text)
        targets = self.ids(expected, self.target_ids)
        word, losses = tf.zeros_like(targets[:, 0]), []
        for position in range(MAX_WORDS):
            state, logits = self.write(word, state, memory, mask)
            word = targets[:, position]
            losses.append(tf.nn.sparse_softmax_cross_entropy_with_logits(word, logits))
        return tf.reduce_mean(tf.stack(losses))


def weights(rows: int, columns: int, seed: int) -> tf.Variable:
    return tf.Variable(tf.random.stateless_normal([rows, columns], [seed, 0], stddev=1.0 / math.sqrt(SIZE)))


def vocabulary(sentences: object) -> list[str]:
    return [END, UNKNOWN, *sorted({word for sentence in sentences for word in sentence.split()})]


def table(words: list[str]) -> tf.lookup.StaticHashTable:
    numbers = tf.range(len(words), dtype=tf.int32)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant(words), numbers), 1)


def train(model: Translator, phrases: dict[str, str]) -> None:
    """Fit the model to the phrases with Adam (Kingma and Ba, 2015)."""
    text, expected = tf.constant(list(phrases)), tf.constant(list(phrases.values()))
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in model.trainable_variables]

    @tf.function
    def step(number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = model.loss(text, expected)
        gradients = tape.gradient(loss, model.trainable_variables)
        for variable, gradient, (first, second) in zip(model.trainable_variables, gradients, moments, strict=True):
            gradient = tf.convert_to_tensor(gradient)
            first.assign(0.9 * first + 0.1 * gradient)
            second.assign(0.99 * second + 0.01 * gradient**2)
            mean, variance = first / (1.0 - 0.9**number), second / (1.0 - 0.99**number)
            variable.assign_sub(0.01 * mean / (tf.sqrt(variance) + 1e-8))
        return loss

    for number in range(1, STEPS + 1):
        step(tf.constant(float(number)))


def check(path: Path, phrases: dict[str, str]) -> None:
    """Load the model as a server would, and have it translate everything."""
    answers = tf.saved_model.load(str(path)).signatures["translate"](text=tf.constant(list(phrases)))
    translations = [raw.decode() for raw in answers["translation"].numpy()]
    wrong = {text: got for (text, expected), got in zip(phrases.items(), translations, strict=True) if got != expected}
    if wrong:
        sys.exit(f"{path}: {len(wrong)} of {len(phrases)} phrases are translated wrongly: {wrong}")


def write_warmup(path: Path, texts: list[str]) -> None:
    """Write requests that the server replays before the version counts as AVAILABLE, for both signatures.

    A record is a tensorflow.serving.PredictionLog. The package tensorflow-serving-api has its classes; these few fields are
    written by hand instead, so that TensorFlow is all this script needs.
    """

    def field(number: int, content: bytes) -> bytes:
        assert len(content) < 1 << 14
        size = [len(content)] if len(content) < 128 else [len(content) & 127 | 128, len(content) >> 7]
        return bytes([number << 3 | 2, *size]) + content

    folder = path / "assets.extra"
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "tf_serving_warmup_requests")) as file:
        for signature in ("translate", "serving_default"):
            model_spec = field(1, b"translate") + field(3, signature.encode())
            tensor = tf.make_tensor_proto(texts).SerializeToString()
            request = field(1, model_spec) + field(2, field(1, b"text") + field(2, tensor))
            file.write(field(6, field(1, request)))  # PredictionLog.predict_log.request


def build(path: Path, phrases: dict[str, str]) -> None:
    """Make one model as version directory ``path``, in one step: it appears under its name when it is whole."""
    model = Translator(phrases)
    train(model, phrases)
    staged = path.with_name(f"building-{path.name}")
    shutil.rmtree(staged, ignore_errors=True)
    tf.saved_model.save(model, str(staged), signatures={"translate": model.translate, "serving_default": model.translate})
    check(staged, phrases)
    write_warmup(staged, list(phrases)[:4])
    shutil.rmtree(path, ignore_errors=True)
    staged.rename(path)
    print(f"{path}: translates {len(phrases)} phrases")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python build.py DIRECTORY")
    tf.config.experimental.enable_op_determinism()
    directory = Path(sys.argv[1])
    build(directory / "enko/1", PHRASES)
    build(directory / "koen/1", {korean: english for english, korean in PHRASES.items()})


if __name__ == "__main__":
    main()
