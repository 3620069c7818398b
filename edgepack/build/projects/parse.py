"""Parses model.toml, collecting every problem before raising.

Not aware of where projects lie. May be imported by `edgepack.build.projects`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgepack.build.artifacts import Gate
from edgepack.build.data.conditions import Condition, parse_condition
from edgepack.build.data.interactions import DataSource
from edgepack.build.data.plain import Layout
from edgepack.build.data.synthetic import SyntheticShop
from edgepack.build.models.ranker import HYPER_PARAMETERS, Architecture
from edgepack.build.projects.optimise import read_optimise
from edgepack.build.projects.project import (
    Loss,
    Optimizer,
    Project,
    Schedule,
    TrainingSettings,
)
from edgepack.build.projects.table import Table
from edgepack.formats.errors import ConfigError, Problem, did_you_mean

SYNTHETIC = "synthetic"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_]{0,63}")
# More would be larger than the vectors they stand for.
_MOST_ITEM_CODES = 32


#: What a recipe may say; the rest of a project does not depend on the kind of log.
_RECIPE_TABLES = ("architecture", "training")


def parse_project(text: str, file: Path, recipe: str | None = None) -> Project:
    """Reads a model project.

    Args:
        text: The TOML.
        file: Where it came from; named in errors, and relative data paths start beside it.
        recipe: Which of its recipes to follow; None for none.

    Raises:
        ConfigError: It is no TOML, there is no such recipe, or with every unknown key, missing
            key, wrong type and value out of range, also of the recipes that are not followed.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    problems: list[Problem] = []
    top = Table(document, "", problems)
    overlays = _read_recipes(top.table("recipes"))
    project = _read_project(top, file)
    # A recipe is read over a sound project only, so that what is wrong is the recipe's.
    recipes = {} if problems else _apply_recipes(document, overlays, file, problems)
    if problems:
        raise ConfigError.from_problems(str(file), problems)
    if recipe is not None and recipe not in recipes:
        raise ConfigError(
            f"'{project.name}' has no recipe '{recipe}'{did_you_mean(recipe, recipes)}",
            hint=f"recipes there are: {', '.join(recipes) or 'none'}",
        )
    chosen = project if recipe is None else replace(recipes[recipe], recipe=recipe)
    return replace(chosen, recipes={name: each.describes for name, each in overlays.items()})


@dataclass(frozen=True, slots=True)
class _Overlay:
    """What a recipe says in the place of the project's own."""

    describes: str
    tables: Mapping[str, Any]


def _read_recipes(table: Table) -> dict[str, _Overlay]:
    found: dict[str, _Overlay] = {}
    for name in table.names():
        each = table.table(name)
        if not _NAME.fullmatch(name):
            table.problem(name, "expected a name of small letters, digits, '-' and '_'")
        tables: dict[str, Any] = {key: each.table(key).values() for key in _RECIPE_TABLES}
        if "name" in tables["architecture"]:
            each.problem("architecture.name", "a recipe cannot change the architecture")
        length = each.optional_integer("sequence_length")
        if length is not None:
            tables["sequence_length"] = length
        found[name] = _Overlay(each.text("for"), tables)
        each.refuse_unknown()
    return found


def _apply_recipes(
    document: Mapping[str, Any],
    overlays: Mapping[str, _Overlay],
    file: Path,
    problems: list[Problem],
) -> dict[str, Project]:
    found: dict[str, Project] = {}
    for name, overlay in overlays.items():
        merged = {key: value for key, value in document.items() if key != "recipes"}
        for key, value in overlay.tables.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        own: list[Problem] = []
        found[name] = _read_project(Table(merged, "", own), file)
        problems += [replace(each, where=f"recipes.{name}.{each.where}") for each in own]
    return found


def _read_project(top: Table, file: Path) -> Project:
    name = top.text("name", pattern=_NAME, expected="small letters, digits, '-' and '_'")
    version = top.text("version", pattern=_VERSION, expected="letters, digits, '.', '+' and '_'")
    kind = top.text("kind", "recommender")
    if kind != "recommender":
        top.problem(
            "kind",
            f"got '{kind}', expected 'recommender'",
            "a tensor model is given as a file: edgepack build --model FILE",
        )
    sequence_length = top.integer("sequence_length", 20, low=2, high=1024)
    top_k = top.integer("top_k", 20, low=1, high=1000)
    architecture, hyper_parameters = _read_architecture(top.table("architecture"))
    calibration = top.table("calibration")
    project = Project(
        name=name,
        version=version,
        directory=file.parent,
        architecture=architecture,
        hyper_parameters=hyper_parameters,
        sequence_length=sequence_length,
        top_k=top_k,
        data=_read_data(top.table("data"), file.parent),
        training=_read_training(top.table("training")),
        calibration_samples=calibration.integer("samples", 500, low=1, high=100_000),
        gate=_read_gate(top.table("gate")),
        optimise=read_optimise(top.table("optimise")),
    )
    if (
        project.optimise.prune
        and project.optimise.prune.blocks
        and "blocks" not in hyper_parameters
    ):
        top.problem("optimise.prune.blocks", f"{architecture} has no blocks")
    calibration.refuse_unknown()
    top.refuse_unknown()
    return project


def _read_architecture(table: Table) -> tuple[Architecture, dict[str, int | float]]:
    before = len(table.problems)
    architecture = table.choice("name", Architecture, None)
    if len(table.problems) > before:
        # Which keys belong here depends on the name, so nothing else can be said about them.
        return architecture, {}
    found: dict[str, int | float] = {}
    for key, default in HYPER_PARAMETERS[architecture].items():
        if isinstance(default, int):
            # What is 0 by default is off or follows from the rest, and may be written so.
            found[key] = table.integer(key, default, low=min(default, 1), high=4096)
        else:
            found[key] = table.number(key, default, low=0.0, high=0.9)
    _check_item_codes(table, found)
    table.refuse_unknown()
    return architecture, found


def _check_item_codes(table: Table, found: Mapping[str, int | float]) -> None:
    if found.get("item_codes", 0) > _MOST_ITEM_CODES:
        table.problem(
            "item_codes",
            f"got {found['item_codes']}, expected 0 to {_MOST_ITEM_CODES}",
            "8 codes are an eighth of the bytes of 64 8-bit numbers; 0 keeps the numbers",
        )


def _read_data(table: Table, directory: Path) -> DataSource | SyntheticShop:
    source = table.text("source", SYNTHETIC)
    if source == SYNTHETIC:
        standard = SyntheticShop()
        shop = SyntheticShop(
            sessions=table.integer("sessions", standard.sessions, low=10, high=10_000_000),
            items=table.integer("items", standard.items, low=40, high=1_000_000),
            seed=table.integer("seed", standard.seed, low=0, high=2**32 - 1),
        )
        table.refuse_unknown()
        return shop
    log = DataSource(
        path=directory / source,
        layout=table.choice("layout", Layout, Layout.TABLE),
        delimiter=table.optional_text("delimiter"),
        member=table.optional_text("member"),
    )
    # Without a header there are no columns to name: such keys are unknown there.
    if log.layout is Layout.TABLE:
        log = replace(
            log,
            session=table.text("session"),
            item=table.text("item"),
            order=table.text("order"),
            time_format=table.optional_text("time_format"),
            conditions=_read_conditions(table),
        )
    if log.delimiter is not None and len(log.delimiter) != 1:
        table.problem("delimiter", f"got '{log.delimiter}', expected one character")
    table.refuse_unknown()
    return log


def _read_conditions(table: Table) -> tuple[Condition, ...]:
    found = []
    for text in table.texts("where"):
        try:
            found.append(parse_condition(text))
        except ValueError as error:
            table.problem("where", str(error), "for example: Quantity > 0")
    return tuple(found)


def _read_training(table: Table) -> TrainingSettings:
    standard = TrainingSettings()
    settings = TrainingSettings(
        optimizer=table.choice("optimizer", Optimizer, standard.optimizer),
        epochs=table.integer("epochs", standard.epochs, low=1, high=10_000),
        refit_epochs=table.integer("refit_epochs", standard.refit_epochs, low=0, high=1_000),
        patience=table.integer("patience", standard.patience, low=1, high=10_000),
        batch_size=table.integer("batch_size", standard.batch_size, low=1, high=65_536),
        learning_rate=table.number("learning_rate", standard.learning_rate, low=1e-7, high=1.0),
        schedule=table.choice("schedule", Schedule, standard.schedule),
        loss=table.choice("loss", Loss, standard.loss),
        sampled_above=table.integer("sampled_above", standard.sampled_above, low=2, high=2**31),
        label_smoothing=table.number("label_smoothing", 0.0, low=0.0, high=0.9),
        seed=table.integer("seed", standard.seed, low=0, high=2**32 - 1),
        h5=table.flag("h5", default=standard.h5),
    )
    table.refuse_unknown()
    return settings


def _read_gate(table: Table) -> Gate:
    standard = Gate()
    gate = Gate(
        ndcg_ratio=table.number("ndcg_ratio", standard.ndcg_ratio, low=0.0, high=1.0),
        overlap=table.number("overlap", standard.overlap, low=0.0, high=1.0),
        top1_same=table.number("top1_same", standard.top1_same, low=0.0, high=1.0),
    )
    table.refuse_unknown()
    return gate
