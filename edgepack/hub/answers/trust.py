"""Which numbers are believed: trusted, doubtful and emulated ones are never mixed.

It is not aware of the store. Anyone in the hub may import it.
"""

from __future__ import annotations

from enum import StrEnum

from edgepack.formats.report import Grade


class Standing(StrEnum):
    """How far a run counts.

    TRUSTED: grade A or B, a valid run, right answers, on real hardware. EMULATED: under an
    emulator, so its times say nothing of a box. DOUBTFUL: everything else.
    """

    TRUSTED = "trusted"
    DOUBTFUL = "doubtful"
    EMULATED = "emulated"


def standing_of(grade: str, *, emulated: bool, valid: bool, golden_ok: bool) -> Standing:
    """Says how far a run counts.

    Args:
        grade: The report's grade of trust (`edgepack.formats.report.Grade`).
        emulated: Whether it ran under an emulator.
        valid: Whether the run kept its scenario's rules.
        golden_ok: Whether the box computes what the host computed.
    """
    if emulated:
        return Standing.EMULATED
    if grade in (Grade.A, Grade.B) and valid and golden_ok:
        return Standing.TRUSTED
    return Standing.DOUBTFUL
