from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgepack.build.projects import Project, parse_project
from edgepack.build.projects.project import Schedule
from edgepack.build.training.loss import sample_classes
from edgepack.build.training.record import (
    asked_histories,
    data_facts,
    make_samples,
    popular_items,
    reference_distributions,
)
from edgepack.build.training.steps import scheduled_rate
from tests.build.data.logs import interactions_of, sequences_of


def project() -> Project:
    text = 'name = "shop"\nversion = "1"\nsequence_length = 4\n[architecture]\nname = "sasrec"\n'
    return parse_project(text, Path("shop/model.toml"))


def test_samples_hold_out_the_test_targets() -> None:
    sequences = sequences_of("abcz", "bcaz", "cabz")
    samples = make_samples(project(), sequences)
    hidden = sequences.vocabulary.index_of("z")
    assert samples["targets"].tolist() == [hidden] * 3
    assert hidden not in samples["calibration"]
    assert hidden not in samples["histories"]
    assert samples["item_counts"][hidden] == 0
    assert samples["item_counts"].dtype == np.int64
    assert samples["histories"].shape == (3, 4)


def test_samples_are_the_same_for_a_seed_and_no_more_than_asked_for() -> None:
    sequences = sequences_of(*["abcdefgh"] * 9)
    few = dataclasses.replace(project(), calibration_samples=5)
    first, second = make_samples(few, sequences), make_samples(few, sequences)
    assert first["calibration"].shape == (5, 4)
    for name, array in first.items():
        assert np.array_equal(array, second[name])


def test_facts_count_every_row_once() -> None:
    interactions = interactions_of("abc", "zz", "bca")
    interactions = dataclasses.replace(interactions, rows_read=10, dropped={"quantity > 0": 2})
    facts = data_facts(interactions, sequences_of("abc", "zz", "bca"))
    assert facts["events_kept"] + sum(facts["rows_dropped"].values()) == facts["rows"]
    assert facts["rows_dropped"]["not quantity > 0"] == 2


def test_reference_distributions_of_known_histories() -> None:
    histories = np.array([[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 2, 2]], dtype=np.int32)
    top = np.array([[4.0, 1.0]] * 4, dtype=np.float32)
    found = reference_distributions(histories, top)
    assert found["history_length"]["counts"] == [0, 1, 1, 2]
    assert set(found["score_quantiles"]["top1"].values()) == {4.0}
    assert set(found["score_quantiles"]["top2"].values()) == {1.0}
    assert set(found["score_quantiles"]["spread"].values()) == {3.0}


def test_histories_are_those_a_shop_asks_about_without_the_tests_targets() -> None:
    sequences = sequences_of("abcz", "abcdez")
    asked = asked_histories(project(), sequences)
    # After a, ab of the first session; after a, ab, abc, abcd of the second.
    assert sorted((asked > 0).sum(axis=1).tolist()) == [1, 1, 2, 2, 3, 4]
    assert sequences.vocabulary.index_of("z") not in asked
    assert np.array_equal(asked, asked_histories(project(), sequences))


def test_popular_items_come_most_popular_first() -> None:
    assert popular_items(sequences_of("cba", "bdd", "dab")) == ["b", "d", "a", "c"]


def test_classes_are_drawn_within_the_catalogue_and_popular_ones_more_often() -> None:
    drawn = sample_classes(1000, 20_000, np.random.default_rng(0))
    assert drawn.min() >= 1
    assert drawn.max() <= 1000
    share = (drawn == 1).mean()
    # log(2) / log(1001) of the draws; 20,000 of them leave a standard error of 0.002.
    assert share == pytest.approx(np.log(2) / np.log(1001), abs=0.01)


def test_the_cosine_schedule_falls_from_start_to_almost_nothing() -> None:
    rates = [scheduled_rate(Schedule.COSINE, 0.1, done) for done in (0.0, 0.5, 1.0, 1.5)]
    assert rates == pytest.approx([0.1, 0.051, 0.002, 0.002], rel=1e-9)
    assert scheduled_rate(Schedule.CONSTANT, 0.1, 0.9) == 0.1
