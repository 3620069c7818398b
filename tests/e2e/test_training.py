"""Training with the real TensorFlow, on small shops and on the real clothing shop."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import SilentProgress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture, Ranker, build_ranker
from edgepack.build.training.loss import (
    full_softmax_loss,
    log_expected_count,
    sample_classes,
    sampled_logits,
    sampled_softmax_loss,
)
from edgepack.build.training.train import train
from edgepack.formats.errors import ConfigError
from edgepack.runner.drift.bins import read_reference
from tests.e2e.trained_models import LENGTH, small

# Keras 3.15 asks TensorFlow's variables for their arrays in a way NumPy 2 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class InterruptedProgress(SilentProgress):
    """Ctrl-C after some steps of training."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


class RecordingProgress(SilentProgress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.total: float | None = None
        self.steps = 0.0
        self.notes: list[str] = []
        self.open: list[str] = []

    def start(self, task: str, total: float | None = None) -> None:
        self.open.append(task)
        self.total = self.total or total

    def advance(self, task: str, amount: float = 1, note: str = "") -> None:
        self.steps += amount
        self.notes += [note] if note else []

    def finish(self, task: str) -> None:
        self.open.remove(task)


def ranker_of(architecture: Architecture) -> Ranker:
    return build_ranker(
        architecture, HYPER_PARAMETERS[architecture], catalogue=30, sequence_length=LENGTH
    )


def every_array(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TrainedModel]:
    """Trains a small project once for the module."""
    cache = Cache(tmp_path_factory.mktemp("trained"))
    return lambda name: train(small(name), None, cache, SilentProgress())


def test_ctrl_c_in_training_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    progress = InterruptedProgress(steps=7)
    with pytest.raises(KeyboardInterrupt):
        train(small("gru4rec"), None, cache, progress)
    assert not list((tmp_path / "tmp").iterdir())
    assert not list(tmp_path.glob("trained/*"))


@pytest.mark.parametrize("name", ["session", "gru4rec", "bilstm"])
def test_a_trained_directory_holds_all_that_a_build_needs(
    trained: Callable[[str], TrainedModel], name: str
) -> None:
    import keras

    import edgepack.build.models.layers  # noqa: F401 - registers the layers

    model = trained(name)
    assert model.vocabulary is not None
    catalogue = len(model.vocabulary)
    assert model.graph_top_k == min(20 + LENGTH, catalogue)
    loaded = keras.saving.load_model(model.model_path)
    samples = every_array(model.samples_path)
    scores = np.asarray(loaded(samples["histories"][:5]))
    assert scores.shape == (5, catalogue + 1)
    assert scores.dtype == np.float32
    assert samples["calibration"].shape == (20, LENGTH)
    assert samples["item_counts"].shape == (catalogue + 1,)
    assert list(model.facts["metrics"]) == ["markov", "model", "popularity"]
    assert len(model.facts["popular"]) == 50
    reference = model.facts["reference"]
    data = model.facts["data"]
    # Every event but the first of a session, which nothing comes before, and the test's target.
    asked = data["events_kept"] - 2 * data["sessions_kept"]
    assert sum(reference["history_length"]["counts"]) == asked < 5000
    bins = read_reference(reference)
    assert None not in (bins.history_length, bins.top_score, bins.score_spread)
    assert bins.spread_rank == 10
    assert (model.directory / "model.h5").exists() is (name == "bilstm")


def test_the_h5_file_gives_the_same_scores(trained: Callable[[str], TrainedModel]) -> None:
    import keras

    model = trained("bilstm")
    histories = every_array(model.samples_path)["histories"][:5]
    native, older = (
        np.asarray(keras.saving.load_model(model.directory / name, compile=False)(histories))
        for name in ("model.keras", "model.h5")
    )
    assert np.array_equal(native, older)


@pytest.mark.parametrize("name", ["session", "gru4rec", "bilstm"])
def test_the_same_inputs_train_to_the_same_bytes(
    trained: Callable[[str], TrainedModel], tmp_path: Path, name: str
) -> None:
    first = trained(name)
    second = train(small(name), None, Cache(tmp_path), SilentProgress())
    for file in sorted(path.name for path in first.directory.iterdir()):
        assert (second.directory / file).read_bytes() == (first.directory / file).read_bytes(), file


def test_a_second_training_is_found_in_the_cache(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = train(small("gru4rec"), None, cache, SilentProgress())
    again = train(small("gru4rec"), None, cache, InterruptedProgress(steps=0))
    assert again == first


def test_progress_is_told_loss_and_validation_and_ends(tmp_path: Path) -> None:
    progress = RecordingProgress()
    train(small("gru4rec"), None, Cache(tmp_path), progress)
    assert progress.open == []
    assert progress.total is not None
    assert progress.steps == pytest.approx(progress.total, rel=0.1)
    assert "epoch 1/2, loss" in progress.notes[0]
    assert "validation NDCG@10" in progress.notes[0]
    assert "refit 1/1" in progress.notes[-1]


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    # A rate at which every epoch after the first makes it worse.
    project = small("gru4rec", epochs=8, patience=1, learning_rate=1.0, schedule="constant")
    facts = train(project, None, Cache(tmp_path), SilentProgress()).facts
    assert facts["epochs"]["run"] == facts["epochs"]["best"] + 1 < 8


def test_a_training_that_diverges_is_an_error_and_no_model(tmp_path: Path) -> None:
    project = small("gru4rec", learning_rate=1e30, schedule="constant")
    with pytest.raises(ConfigError, match=r"diverged: the loss of epoch \d is nan"):
        train(project, None, Cache(tmp_path), SilentProgress())
    assert not list(tmp_path.glob("trained/*"))


def test_a_sampled_softmax_learns_too(tmp_path: Path) -> None:
    untrained = small("gru4rec", epochs=1, refit_epochs=0, learning_rate=1e-7)
    sampled = small("gru4rec", epochs=6, loss="sampled-softmax")
    found = [
        train(project, None, Cache(tmp_path), SilentProgress()).facts["validation"]["ndcg"]
        for project in (untrained, sampled)
    ]
    assert found[1] > 1.5 * found[0]


def test_the_sampled_gradient_is_the_full_one_on_average() -> None:
    import tensorflow as tf

    random = np.random.default_rng(0)
    table = tf.constant(random.normal(size=(41, 6)), tf.float32)
    bias = tf.zeros(41)
    hidden = tf.Variable(random.normal(size=(5, 6)), dtype=tf.float32)
    targets = tf.constant([1, 2, 7, 20, 40])

    def gradient(loss: Callable[[], Any]) -> Any:
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, hidden).numpy()

    # Column 0 is padding, which the sample never holds.
    scores = tf.constant([-1e9] + [0.0] * 40)
    full = gradient(
        lambda: full_softmax_loss(tf.matmul(hidden, table, transpose_b=True) + scores, targets, 0.0)
    )
    sampled = gradient(
        lambda: sampled_softmax_loss(
            sampled_logits(
                hidden,
                targets,
                sample_classes(40, 50_000, random),
                lambda items: (tf.gather(table, items), tf.gather(bias, items)),
                40,
            )
        )
    )
    # 50,000 draws of 40 items: the estimate is off by about 1 / sqrt(50,000 / 40), 3 %.
    assert sampled == pytest.approx(full, abs=0.05)


def test_expected_counts_of_the_sample_add_up() -> None:
    expected = np.exp(log_expected_count(np.arange(1, 101), 100, 500))
    assert expected.sum() == pytest.approx(500, rel=1e-4)


@pytest.mark.parametrize("architecture", [Architecture.SASREC, Architecture.GRU4REC])
def test_no_position_sees_what_comes_after_it(architecture: Architecture) -> None:
    ranker = build_ranker(
        architecture,
        {**HYPER_PARAMETERS[architecture], "dropout": 0.0},
        catalogue=30,
        sequence_length=LENGTH,
    )
    assert ranker.hidden is not None
    assert ranker.table is not None
    # Large enough for attention scores in the hundreds, as an unlucky training would have.
    ranker.table.embeddings.assign(50.0 * ranker.table.embeddings.numpy())
    history = np.arange(1, LENGTH + 1, dtype=np.int32)[None, :]
    changed = history.copy()
    changed[0, 5:] = 29
    before, after = (np.asarray(ranker.hidden(h, training=True)) for h in (history, changed))
    assert np.array_equal(after[0, :5], before[0, :5])
    assert np.abs(after[0, 5:] - before[0, 5:]).max() > 1e-3


@pytest.mark.parametrize("architecture", [Architecture.SASREC, Architecture.GRU4REC])
def test_the_shipped_graph_gives_what_training_saw_at_the_last_position(
    architecture: Architecture,
) -> None:
    ranker = ranker_of(architecture)
    assert ranker.hidden is not None
    assert ranker.table is not None
    assert ranker.bias is not None
    history = np.array([[0, 0, 0, 0, 0, 3, 1, 2], [9, 8, 7, 6, 5, 4, 3, 2]], dtype=np.int32)
    scores = np.asarray(ranker.finish()(history))
    last = ranker.hidden(history)[:, -1, :]
    assert scores == pytest.approx(
        np.asarray(ranker.bias(ranker.table(last, reverse=True))), abs=1e-5
    )


def coded(architecture: Architecture) -> Ranker:
    """A ranker with four codes an item, all weights drawn at random."""
    settings = {**HYPER_PARAMETERS[architecture], "dropout": 0.0, "item_codes": 4}
    ranker = build_ranker(architecture, settings, catalogue=30, sequence_length=LENGTH)
    assert ranker.table is not None
    random = np.random.default_rng(3)
    ranker.table.item_codes.assign(random.integers(0, 256, (4, 31), dtype=np.uint8))
    ranker.table.part_scores.assign(random.normal(size=4 * 256).astype(np.float32))
    return ranker


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("architecture", [Architecture.SASREC, Architecture.GRU4REC])
def test_scores_of_codes_are_those_of_the_vectors_they_stand_for(
    architecture: Architecture, paired: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if paired:
        monkeypatch.setattr("edgepack.build.models.coded_items.PAIRED_FROM_ITEMS", 1)
    ranker = coded(architecture)
    assert ranker.hidden is not None
    history = np.array([[0, 0, 0, 0, 0, 3, 1, 2], [9, 8, 7, 6, 5, 4, 3, 2]], dtype=np.int32)
    shipped = np.asarray(ranker.finish()(history))
    trained = np.asarray(ranker.score_all(ranker.hidden(history)[:, -1, :]))
    assert shipped[:, 1:] == pytest.approx(trained[:, 1:], abs=1e-5)
    vectors, added = ranker.look_up(np.arange(31, dtype=np.int32))
    last = np.asarray(ranker.hidden(history)[:, -1, :])
    expected = last @ np.asarray(vectors).T + np.asarray(added)
    assert shipped[:, 1:] == pytest.approx(expected[:, 1:], abs=1e-5)


@pytest.mark.parametrize("loss", ["softmax", "sampled-softmax"])
def test_item_codes_keep_what_the_table_had_learnt(tmp_path: Path, loss: str) -> None:
    project = small("gru4rec", epochs=4, loss=loss)
    eight = dataclasses.replace(
        project, hyper_parameters={**project.hyper_parameters, "item_codes": 8}
    )
    found = [
        train(each, None, Cache(tmp_path), SilentProgress()).facts["metrics"]["model"]["ndcg"]
        for each in (project, eight)
    ]
    # Sixty items have a part each; what differs is two more passes over the data.
    assert found[1] > 0.9 * found[0]


def test_a_saved_model_keeps_its_item_codes(tmp_path: Path) -> None:
    import keras

    ranker = coded(Architecture.SASREC)
    history = np.array([[0, 0, 0, 0, 0, 3, 1, 2]], dtype=np.int32)
    ranker.inference.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert np.array_equal(np.asarray(again(history)), np.asarray(ranker.inference(history)))
    assert again.get_layer("items").item_codes.dtype == "uint8"


def test_the_weights_of_padding_do_not_matter() -> None:
    ranker = ranker_of(Architecture.SASREC)
    assert ranker.table is not None
    history = np.array([[0, 0, 0, 0, 0, 3, 1, 2]], dtype=np.int32)
    before = np.asarray(ranker.inference(history))
    table = np.array(ranker.table.embeddings.numpy())
    table[0] += 5.0
    ranker.table.embeddings.assign(table)
    after = np.asarray(ranker.inference(history))
    assert np.array_equal(after[:, 1:], before[:, 1:])


def test_one_table_serves_as_input_and_output() -> None:
    ranker = ranker_of(Architecture.SASREC)
    shapes = [tuple(variable.shape) for variable in ranker.inference.weights]
    assert shapes.count((31, 64)) == 1
    assert (64, 31) not in shapes


def test_training_json_holds_nothing_that_a_clock_decides(
    trained: Callable[[str], TrainedModel],
) -> None:
    facts = json.loads((trained("session").directory / "training.json").read_bytes())
    assert not [key for key in facts if "second" in key or "time" in key or "date" in key]
