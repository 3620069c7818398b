from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgepack.build.data.interactions import DataSource
from edgepack.build.data.synthetic import SyntheticShop
from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture
from edgepack.build.projects import Loss, Project, TrainingSettings, parse_project
from edgepack.build.projects.optimise import NOTHING, CutCatalogue, Optimise, Prune
from edgepack.formats.errors import ConfigError

FILE = Path("shop/model.toml")
SMALLEST = 'name = "shop"\nversion = "1.0.0"\n'


def parse(text: str = "", *, architecture: str = '[architecture]\nname = "sasrec"\n') -> Project:
    return parse_project(SMALLEST + architecture + text, FILE)


def test_what_is_no_toml_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"shop/model\.toml: not valid TOML: .*line 1") as caught:
        parse_project("name = \n", FILE)
    assert caught.value.exit_code == 3


def test_several_mistakes_are_all_named_with_their_key_paths() -> None:
    text = 'name = "My Shop"\ntop_k = 0\nsequnce_length = 9\n'
    text += '[architecture]\nname = "sasrec"\nunits = "many"\ndropuot = 0.1\n'
    text += '[training]\nepochs = 0\nloss = "bce"\n[gate]\noverlap = 1.5\n'
    with pytest.raises(ConfigError) as caught:
        parse_project(text, FILE)
    message = caught.value.message
    assert "9 problems" in message
    for fact in (
        "name: got 'My Shop'",
        "version: is missing",
        "top_k: got 0, expected 1 to 1000",
        "sequnce_length: unknown key; did you mean 'sequence_length'?",
        "architecture.units: got 'many', expected a whole number",
        "architecture.dropuot: unknown key; did you mean 'dropout'?",
        "training.epochs: got 0",
        "training.loss: got 'bce', expected one of softmax, sampled-softmax, auto",
        "gate.overlap: got 1.5, expected 0 to 1",
    ):
        assert fact in message


def test_an_unknown_architecture_gets_a_suggestion_and_no_guesses_about_its_keys() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(architecture='[architecture]\nname = "sasrek"\nheads = 2\n')
    assert "1 problem\n" in caught.value.message
    assert "did you mean 'sasrec'?" in caught.value.message


def test_item_codes_may_be_off_but_not_larger_than_what_they_stand_for() -> None:
    text = 'name = "s"\nversion = "1"\n[architecture]\nname = "sasrec"\nitem_codes = '
    assert parse_project(f"{text}0\n", Path("model.toml")).hyper_parameters["item_codes"] == 0
    assert parse_project(f"{text}8\n", Path("model.toml")).hyper_parameters["item_codes"] == 8
    with pytest.raises(ConfigError, match="got 33, expected 0 to 32"):
        parse_project(f"{text}33\n", Path("model.toml"))


def test_a_hyper_parameter_of_another_architecture_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"architecture\.blocks: unknown key"):
        parse(architecture='[architecture]\nname = "gru4rec"\nblocks = 2\n')


def test_a_tensor_project_is_told_to_give_the_file() -> None:
    with pytest.raises(ConfigError, match="got 'tensor', expected 'recommender'") as caught:
        parse_project(SMALLEST + 'kind = "tensor"\n[architecture]\nname = "sasrec"\n', FILE)
    assert "--model FILE" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        ('source = "a.csv"', "data.session: is missing"),
        ('source = "a.csv"\nsession = "s"\nitem = 3', "data.item: got 3, expected text"),
        ('source = "synthetic"\nsession = "s"', "data.session: unknown key"),
        ('source = "synthetic"\nitems = 3', "data.items: got 3, expected 40"),
        ('source = "a.txt"\nlayout = "pairs"\nsession = "s"', "data.session: unknown key"),
        ('source = "a.txt"\nlayout = "pear"', "data.layout: got 'pear', expected one of table"),
        ('source = "a.csv"\ndelimiter = ",,"', "data.delimiter: got ',,', expected one character"),
        ('source = "a.csv"\nwhere = ["Quantity"]', "data.where: 'Quantity' is not COLUMN OP VALUE"),
        ('source = "a.csv"\nwhere = "a > 1"', "data.where: got 'a > 1', expected a list of texts"),
    ],
)
def test_mistakes_in_data_are_named(data: str, fact: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[data]\n{data}\n")
    assert fact in caught.value.message


@pytest.mark.parametrize(
    "line", ["learning_rate = nan", "learning_rate = true", "epochs = 1.5", "h5 = 1", "seed = -1"]
)
def test_values_of_the_wrong_type_or_range_are_refused(line: str) -> None:
    with pytest.raises(ConfigError, match=r"training\.\w+: got"):
        parse(f"[training]\n{line}\n")


def test_a_value_where_a_table_belongs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gate: got 3, expected a table \[gate\]"):
        parse_project(SMALLEST + "gate = 3\n[architecture]\nname = 'sasrec'\n", FILE)


def test_a_name_may_not_leave_its_folder() -> None:
    for text in ("../shop", "a/b", ".hidden", ""):
        with pytest.raises(ConfigError, match="name: got"):
            parse_project(f'name = "{text}"\nversion = "1"\n[architecture]\nname="sasrec"', FILE)


def test_what_is_left_out_has_a_default() -> None:
    project = parse()
    assert project.data == SyntheticShop()
    assert project.training == TrainingSettings()
    assert project.hyper_parameters == HYPER_PARAMETERS[Architecture.SASREC]
    assert (project.sequence_length, project.calibration_samples) == (20, 500)
    assert (project.gate.ndcg_ratio, project.gate.overlap, project.gate.top1_same) == (
        0.995,
        0.95,
        0.9,
    )


def test_a_log_lies_beside_the_project() -> None:
    text = 'source = "log.csv"\nsession = "s"\nitem = "i"\norder = "o"\nwhere = ["q > 0"]\n'
    source = parse(f"[data]\n{text}").data
    assert isinstance(source, DataSource)
    assert source.path == Path("shop/log.csv")
    assert [str(condition) for condition in source.conditions] == ["q > 0"]


def test_auto_samples_large_catalogues_only() -> None:
    settings = TrainingSettings(sampled_above=100)
    assert not settings.samples_classes(100)
    assert settings.samples_classes(101)
    assert TrainingSettings(loss=Loss.SAMPLED_SOFTMAX).samples_classes(5)
    assert not TrainingSettings(loss=Loss.SOFTMAX).samples_classes(10**6)


def test_changing_the_gate_or_the_version_trains_nothing_anew() -> None:
    key = parse().training_key()
    assert parse("[gate]\noverlap = 0.5\n").training_key() == key
    other: Mapping[str, object] = parse("[training]\nseed = 1\n").training_key()
    assert other != key


def test_every_shipped_project_says_what_kind_it_is(repository: Path) -> None:
    for file in sorted((repository / "models").glob("*/model.toml")):
        text = file.read_text(encoding="utf-8")
        project = parse_project(text, file)
        assert project.name == file.parent.name
        assert tomllib.loads(text)["kind"] == "recommender"
        assert isinstance(project.data, SyntheticShop)


def test_mistakes_in_steps_are_named_with_their_key_paths() -> None:
    text = "[optimise]\nrounded_epochs = -1\nprun = {}\n"
    text += "[optimise.distil]\nweight = 2\n[optimise.catalogue]\nshare = 0.9\n"
    with pytest.raises(ConfigError) as caught:
        parse(text)
    for fact in (
        "optimise.rounded_epochs: got -1, expected 0 to 1000",
        "optimise.prun: unknown key; did you mean 'prune'?",
        "optimise.distil.teacher: is missing",
        "optimise.distil.weight: got 2, expected 0 to 1",
        "optimise.catalogue.share: unknown key",
    ):
        assert fact in caught.value.message


def test_a_step_that_is_named_has_defaults_and_others_are_left_out() -> None:
    assert parse().optimise == NOTHING
    found = parse("[optimise.prune]\nunits = 0.25\n").optimise
    assert found == Optimise(prune=Prune(units=0.25, blocks=None, epochs=3))
    assert parse("[optimise]\ncatalogue = {}\n").optimise == Optimise(catalogue=CutCatalogue())


def test_only_an_architecture_with_blocks_loses_blocks() -> None:
    text = "[optimise.prune]\nblocks = 1\n"
    assert parse(text).optimise == Optimise(prune=Prune(blocks=1))
    with pytest.raises(ConfigError, match=r"optimise\.prune\.blocks"):
        parse(text, architecture='[architecture]\nname = "gru4rec"\n')


def test_steps_train_anew_and_a_project_without_any_is_as_it_was() -> None:
    assert "optimise" not in parse().training_key()
    assert parse("[optimise]\nrounded_epochs = 1\n").training_key()["optimise"]["rounded_epochs"]
