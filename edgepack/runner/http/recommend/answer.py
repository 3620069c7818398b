"""Writes recommendations as JSON text.

By hand, because scores are most of the work: `repr` of ten floats that were float32 takes 7 us,
one format of nine digits, which tells every float32 apart, takes 1. It is not aware of requests.
Used by `routes` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote

from edgepack.runner.live.model import LiveModel
from edgepack.runner.recommender import Answer


def answer_body(answer: Answer, live: LiveModel) -> bytes:
    """Returns the body that answers one history.

    Args:
        answer: Its scores are finite.
        live: The model it is from.
    """
    return f"{{{_fields(answer)},{_model(live)}}}".encode("ascii")


def batch_body(answers: Sequence[Answer], live: LiveModel) -> bytes:
    """Returns the body that answers a batch of histories.

    Args:
        answers: In the order of the histories.
        live: The model they are from.
    """
    listed = ",".join([f"{{{_fields(each)}}}" for each in answers])
    return f'{{"answers":[{listed}],{_model(live)}}}'.encode("ascii")


def _fields(answer: Answer) -> str:
    scores = answer.scores
    # Nine digits of a whole number have no decimal point, and a score is not to turn into an
    # integer in a client's eyes.
    if any(map(float.is_integer, scores)):
        items = ",".join(
            [
                f'{{"id":{quote(item)},"score":{score!r}}}'
                for item, score in zip(answer.items, scores, strict=True)
            ]
        )
    else:
        values: list[object] = [None] * (2 * len(scores))
        values[::2] = map(quote, answer.items)
        values[1::2] = scores
        items = _template(len(scores)) % tuple(values)
    fallback = "null" if answer.fallback is None else quote(answer.fallback)
    return f'"items":[{items}],"unknown":{answer.unknown},"fallback":{fallback}'


@lru_cache(maxsize=256)
def _template(count: int) -> str:
    return ",".join(['{"id":%s,"score":%.9g}'] * count)


# One in service and one on trial; more would keep what was retired.
@lru_cache(maxsize=2)
def _model(live: LiveModel) -> str:
    return (
        f'"model":{{"name":{quote(live.name)},"version":{quote(live.version)},'
        f'"variant":{quote(live.variant)}}}'
    )
