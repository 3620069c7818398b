"""Each step of `[optimise]` on a small shop: what it makes smaller or nearer, and what it costs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgepack.build.artifacts import SilentProgress, TrainedModel
from edgepack.build.cache import Cache
from edgepack.build.data.sequences import Sequences
from edgepack.build.models.ranker import Ranker
from edgepack.build.pipeline.steps import cost_of_steps
from edgepack.build.projects import Project
from edgepack.build.projects.optimise import CutCatalogue, Distil, Optimise, Prune
from edgepack.build.training import steps
from edgepack.build.training.fit import fit
from edgepack.build.training.optimise import prune
from edgepack.build.training.optimise.teacher import Teacher, check_teaching, load_teacher
from edgepack.build.training.train import load_sequences, train
from edgepack.cli.main import main
from edgepack.formats.errors import ConfigError
from tests.e2e.trained_models import LENGTH, small

# Keras 3.15 asks TensorFlow's variables for their arrays in a way NumPy 2 is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def optimised(name: str, optimise: Optimise, **training: Any) -> Project:
    return dataclasses.replace(small(name, **training), optimise=optimise)


def trained(project: Project, folder: Path, teacher: Teacher | None = None) -> TrainedModel:
    return train(project, None, Cache(folder), SilentProgress(), teacher=teacher)


def shop() -> Sequences:
    return load_sequences(small("session").data)[1]


def fitted(project: Project, **given: Any) -> Ranker:
    return fit(project, shop(), SilentProgress(), **given).ranker


def last_scores(ranker: Ranker) -> np.ndarray[Any, Any]:
    history, _ = shop().histories(1, LENGTH)
    return np.asarray(ranker.finish()(history))[:, 1:]


def step_rows(model: TrainedModel) -> dict[str, dict[str, Any]]:
    return {row["step"]: row for row in model.facts["steps"]}


@pytest.mark.parametrize("name", ["session", "gru4rec", "bilstm"])
def test_a_catalogue_is_cut_and_still_asked_about_as_a_whole(tmp_path: Path, name: str) -> None:
    model = trained(optimised(name, Optimise(catalogue=CutCatalogue(0.8, epochs=1))), tmp_path)
    rows = step_rows(model)
    whole = rows["trained"]["items"]
    kept = rows["catalogue"]["items"]
    assert model.vocabulary is not None
    assert len(model.vocabulary) == kept < whole == model.facts["data"]["items"]
    assert model.graph_top_k <= kept
    # Every session is a question for both, so that what is gone counts as missed.
    questions = rows["trained"]["questions"]
    assert questions == rows["catalogue"]["questions"] == model.facts["data"]["sessions_kept"]
    assert model.facts["metrics"]["model"]["ndcg"] == rows["catalogue"]["ndcg"]
    assert set(model.facts["popular"]) <= set(model.vocabulary.items)


def test_what_is_kept_of_a_catalogue_is_scored_as_before(tmp_path: Path) -> None:
    project = small("session")
    whole = last_scores(fitted(project))
    cut = optimised("session", Optimise(catalogue=CutCatalogue(0.8, epochs=0)))
    found = fit(cut, shop(), SilentProgress())
    count = len(found.sequences.vocabulary)
    history, _ = shop().histories(1, LENGTH)
    # Of the histories in which everything is known, the same scores, but for the items gone.
    rows = np.flatnonzero((history <= count).all(axis=1))
    assert len(rows)
    scores = np.asarray(found.ranker.inference(history[rows]))[:, 1:]
    assert scores == pytest.approx(whole[rows, :count], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "width"), [("session", "wide"), ("gru4rec", "state"), ("bilstm", "units")]
)
def test_a_pruned_model_is_smaller_and_takes_less_time(
    tmp_path: Path, name: str, width: str
) -> None:
    project = optimised(name, Optimise(prune=Prune(units=0.25, epochs=1)))
    model = trained(project, tmp_path)
    whole = project.hyper_parameters[width] or {"wide": 128, "state": 64}[width]
    assert model.facts["hyper_parameters"][width] == whole // 4
    before, after = cost_of_steps(model, Cache(tmp_path), SilentProgress())
    assert after.facts["parameters"] < before.facts["parameters"]
    assert before.size_bytes is not None
    assert after.size_bytes is not None
    assert after.size_bytes < before.size_bytes
    # How much less time is for a benchmark to say.
    assert before.call_ns is not None
    assert after.call_ns is not None


def test_a_block_less_is_a_block_less(tmp_path: Path) -> None:
    model = trained(optimised("session", Optimise(prune=Prune(1.0, blocks=1, epochs=1))), tmp_path)
    assert model.facts["hyper_parameters"]["blocks"] == 1
    rows = step_rows(model)
    assert rows["pruned"]["ndcg"] > 0.8 * rows["trained"]["ndcg"]


@pytest.mark.parametrize("name", ["gru4rec", "bilstm"])
def test_units_that_matter_are_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = optimised(name, Optimise(prune=Prune(units=0.25, epochs=0)), epochs=4)

    def lost() -> float:
        scores: dict[str, Any] = {}

        def remember(step: str, ranker: Ranker, _items: int) -> None:
            scores[step] = last_scores(ranker)
            if ranker.normalised:
                scores[step] = np.log(scores[step])

        fitted(project, finished=remember)
        return divergence(scores["trained"], scores["pruned"])

    kept = lost()

    def least_important(worth: Any, keep: int) -> Any:
        return np.sort(np.argsort(worth)[:keep])

    monkeypatch.setattr(prune, "most_important", least_important)
    assert kept < 0.8 * lost()


def test_a_pupil_ends_nearer_to_its_teacher(tmp_path: Path) -> None:
    teacher = small("session", epochs=4)
    known = Teacher(teacher, trained(teacher, tmp_path))
    wise = last_scores(load_teacher(known, len(shop().vocabulary)))
    alone = last_scores(fitted(small("gru4rec")))
    taught = optimised("gru4rec", Optimise(distil=Distil("session", weight=0.9)))
    pupil = last_scores(fitted(taught, teacher=lambda items: load_teacher(known, items)))
    assert divergence(wise, pupil) < 0.8 * divergence(wise, alone)


def divergence(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    """Mean Kullback-Leibler divergence of softmax scores."""
    aimed, given = (
        each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in (expected, found)
    )
    return float((np.exp(aimed) * (aimed - given)).sum(axis=1).mean())


def test_a_loaded_teacher_answers_as_it_did(tmp_path: Path) -> None:
    import keras

    project = small("gru4rec")
    model = trained(project, tmp_path)
    ranker = load_teacher(Teacher(project, model), len(shop().vocabulary))
    saved = keras.saving.load_model(model.model_path, compile=False)
    history, _ = shop().histories(1, LENGTH)
    assert np.array_equal(np.asarray(ranker.inference(history)), np.asarray(saved(history)))
    assert ranker.hidden is not None
    state = np.asarray(ranker.hidden(history))[:, -1]
    assert np.asarray(ranker.score_all(state)) == pytest.approx(
        np.asarray(saved(history)), abs=1e-4
    )


def test_a_teacher_that_cannot_teach_is_refused_before_anything_is_trained() -> None:
    pupil = optimised("gru4rec", Optimise(distil=Distil("bilstm")))
    with pytest.raises(ConfigError, match="asked after every event"):
        check_teaching(pupil, small("bilstm"))
    with pytest.raises(ConfigError, match="itself learns from 'x'"):
        check_teaching(pupil, optimised("session", Optimise(distil=Distil("x"))))
    with pytest.raises(ConfigError, match="does not know the whole catalogue"):
        check_teaching(pupil, optimised("session", Optimise(catalogue=CutCatalogue())))
    longer = dataclasses.replace(small("session"), sequence_length=LENGTH + 1)
    with pytest.raises(ConfigError, match="histories have 9 items, those of 'gru4rec' 8"):
        check_teaching(pupil, longer)


@pytest.mark.parametrize("name", ["session", "gru4rec", "bilstm"])
def test_weights_that_were_rounded_in_training_lose_less_when_they_are_rounded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three values a weight in the place of 255, so that rounding costs much.
    monkeypatch.setattr(steps, "_INT8_MOST", 1)
    found = []
    # As many passes in both.
    for refit, rounded in ((6, 0), (3, 3)):
        ranker = fitted(optimised(name, Optimise(rounded_epochs=rounded), refit_epochs=refit))
        exact = last_scores(ranker)
        steps.round_in_place(ranker.inference.trainable_variables)
        after = np.asarray(ranker.inference(shop().histories(1, LENGTH)[0]))[:, 1:]
        best = np.argsort(-exact, axis=1)[:, :10]
        others = np.argsort(-after, axis=1)[:, :10]
        pairs = zip(best, others, strict=True)
        found.append(np.mean([len(set(a) & set(b)) for a, b in pairs]) / 10)
    assert found[1] > found[0] + 0.02


def test_matrices_are_rounded_to_255_values_and_vectors_are_not() -> None:
    import keras

    variables = [keras.Variable([[0.2, 1.0], [-0.6, 0.0]]), keras.Variable([0.123456, 1.0])]
    kept = steps.round_in_place(variables)
    assert list(kept) == [0]
    assert np.asarray(variables[0]) * 127 == pytest.approx(np.array([[25, 127], [-76, 0]]))


def test_train_shows_what_each_step_kept_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "shop"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(
        'name = "shop"\nversion = "1.0.0"\nsequence_length = 8\n'
        '[architecture]\nname = "gru4rec"\nunits = 16\n'
        '[data]\nsource = "synthetic"\nsessions = 300\nitems = 60\n'
        "[training]\nepochs = 1\nrefit_epochs = 0\n"
        "[optimise]\ncatalogue = { events = 0.9 }\nprune = { units = 0.5, epochs = 1 }\n"
    )
    arguments = ["train", "--model", str(folder), "--cache", str(tmp_path / "cache")]
    shown = said(arguments, capsys)
    for word in ("after each step", "trained", "catalogue", "pruned", " us"):
        assert word in shown
    told = json.loads(said([*arguments, "--json"], capsys))
    assert [row["step"] for row in told["steps"]] == ["trained", "catalogue", "pruned"]
    assert all(row["size_bytes"] and row["call_us"] for row in told["steps"])


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line prints."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code in (None, 0)
    return capsys.readouterr().out
