from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.build.artifacts import SilentProgress
from edgepack.build.cache import Cache
from edgepack.build.pipeline.model import obtain_model
from edgepack.build.pipeline.request import ModelRequest
from edgepack.build.projects import Project, load_project, parse_project
from edgepack.formats.errors import ConfigError

FILE = Path("shop/model.toml")
PROJECT = """name = "shop"
version = "1.0.0"
sequence_length = 20
[architecture]
name = "sasrec"
dropout = 0.1
[training]
epochs = 8
learning_rate = 0.007
"""
LONG = """[recipes.long]
for = "long histories"
sequence_length = 200
architecture = { dropout = 0.3 }
training = { epochs = 30 }
"""


def parse(text: str, recipe: str | None = None) -> Project:
    return parse_project(PROJECT + text, FILE, recipe)


def test_an_unknown_recipe_gets_a_suggestion_and_the_list() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'lnog'; did you mean 'long'\?") as caught:
        parse(LONG, "lnog")
    assert caught.value.hint == "recipes there are: long"
    with pytest.raises(ConfigError) as caught:
        parse("", "long")
    assert caught.value.hint == "recipes there are: none"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[recipes]\nlong = 3", r"recipes\.long: got 3, expected a table"),
        ("[recipes.long]", r"recipes\.long\.for: is missing"),
        ('[recipes.Long]\nfor = "x"', r"recipes\.Long: expected a name of small letters"),
        ('[recipes.long]\nfor = "x"\nepochs = 3', r"recipes\.long\.epochs: unknown key"),
        ('[recipes.long]\nfor = "x"\ntop_k = 3', r"recipes\.long\.top_k: unknown key"),
        (
            '[recipes.long]\nfor = "x"\n[recipes.long.architecture]\nname = "gru4rec"',
            r"recipes\.long\.architecture\.name: a recipe cannot change the architecture",
        ),
        (
            '[recipes.long]\nfor = "x"\n[recipes.long.training]\nepoch = 3',
            r"recipes\.long\.training\.epoch: unknown key; did you mean 'epochs'\?",
        ),
        (
            '[recipes.long]\nfor = "x"\nsequence_length = 1',
            r"recipes\.long\.sequence_length: got 1, expected 2 to 1024",
        ),
    ],
)
def test_what_is_wrong_in_a_recipe_is_named_whether_it_is_followed_or_not(
    text: str, fact: str
) -> None:
    with pytest.raises(ConfigError, match=fact):
        parse(text)


def test_a_recipe_replaces_what_it_says_and_leaves_the_rest() -> None:
    plain, long = parse(LONG), parse(LONG, "long")
    assert (plain.recipe, long.recipe) == (None, "long")
    assert plain.recipes == long.recipes == {"long": "long histories"}
    assert (plain.sequence_length, long.sequence_length) == (20, 200)
    assert (plain.hyper_parameters["dropout"], long.hyper_parameters["dropout"]) == (0.1, 0.3)
    assert (plain.training.epochs, long.training.epochs) == (8, 30)
    assert long.training.learning_rate == plain.training.learning_rate


def test_recipes_that_are_not_followed_train_nothing_anew() -> None:
    assert parse(LONG).training_key() == parse("").training_key()


def test_a_finished_model_has_no_recipes(tmp_path: Path) -> None:
    model = tmp_path / "model.keras"
    model.touch()
    request = ModelRequest(str(model), recipe="long")
    with pytest.raises(ConfigError, match="is not trained, but --recipe was given"):
        obtain_model(request, Cache(tmp_path / "cache"), SilentProgress())


def test_the_shipped_recipes_are_sound_and_say_what_they_are_for(repository: Path) -> None:
    project = load_project("session", [repository / "models"])
    assert set(project.recipes) == {"histories", "sparse"}
    for name in project.recipes:
        followed = load_project("session", [repository / "models"], name)
        assert followed.recipe == name
        assert followed.training_key() != project.training_key()
