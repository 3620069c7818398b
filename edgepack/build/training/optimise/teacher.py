"""The model that another one learns from, read back from where it was kept.

Imports Keras on use. Used by `edgepack.build.training` and `edgepack.build.pipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.build.artifacts import TrainedModel
from edgepack.build.models.ranker import Architecture, Ranker, build_ranker
from edgepack.build.projects.project import Project
from edgepack.build.training.optimise.catalogue import keep_items
from edgepack.formats.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model that another one learns from.

    Attributes:
        project: What it was trained by.
        model: The model, trained on the same log.
    """

    project: Project
    model: TrainedModel


def check_teaching(pupil: Project, teacher: Project) -> None:
    """Finds out before hours of training whether one model can learn from another.

    Args:
        pupil: The project with `[optimise.distil]`.
        teacher: The project that it names.

    Raises:
        ConfigError: They are the same or ask for different histories, the teacher has a teacher
            or knows a part of the catalogue, or one of them does not score every position.
    """
    where = f"'{pupil.name}' cannot learn from '{teacher.name}'"
    for each in (pupil, teacher):
        if each.architecture is Architecture.BILSTM:
            raise ConfigError(
                f"{where}: {each.architecture} knows only the next item of a whole history, and "
                "a teacher is asked after every event",
                hint="expected sasrec or gru4rec for both",
            )
    if teacher.optimise.distil is not None:
        raise ConfigError(
            f"{where}, which itself learns from '{teacher.optimise.distil.teacher}'",
            hint="name a teacher without [optimise.distil]",
        )
    if teacher.optimise.catalogue is not None:
        raise ConfigError(
            f"{where}, which does not know the whole catalogue",
            hint="name a teacher without [optimise.catalogue]",
        )
    if pupil.sequence_length != teacher.sequence_length:
        raise ConfigError(
            f"{where}: its histories have {teacher.sequence_length} items, those of "
            f"'{pupil.name}' {pupil.sequence_length}",
            hint="give both the same sequence_length",
        )


def load_teacher(teacher: Teacher, items: int) -> Ranker:
    """Builds the teacher as it was trained, with the most popular of its items.

    Args:
        teacher: Which one.
        items: How many, without padding; as many as the pupil knows.
    """
    import keras

    if teacher.model.vocabulary is None:
        raise AssertionError("a teacher is a recommender")
    ranker = _built(teacher, len(teacher.model.vocabulary))
    # Only now are the layers known that Keras itself does not have.
    saved = keras.saving.load_model(teacher.model.model_path, compile=False)
    ranker.adopt(saved.get_weights())
    return keep_items(ranker, _built(teacher, items))


def _built(teacher: Teacher, items: int) -> Ranker:
    return build_ranker(
        teacher.project.architecture,
        teacher.model.facts["hyper_parameters"],
        catalogue=items,
        sequence_length=teacher.project.sequence_length,
    )
