"""The roles a token can have. It is not aware of tokens. Anyone in the hub may import it."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What the bearer of a token may do.

    ENROL makes devices, a limited number of times; DEVICE sends the reports of one device;
    READER reads everything; ADMIN also makes and revokes tokens and devices.
    """

    ENROL = "enrol"
    DEVICE = "device"
    READER = "reader"
    ADMIN = "admin"
