"""The credentials in the store: made, looked up, used, rotated and revoked.

It is not aware of HTTP. Used by `web` and by the `edgepack hub` commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Engine, bindparam, or_, select, update
from sqlalchemy.exc import IntegrityError

from edgepack.formats.errors import ConfigError, HubError
from edgepack.hub.access.roles import Role
from edgepack.hub.access.tokens import make_token, token_hash
from edgepack.hub.store.engine import writing
from edgepack.hub.store.schema import credential, device

#: What a box may call itself: the runner's random UUID, or a name that a fleet gives.
_DEVICE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{3,63}")
_MAX_LABEL: Final = 200


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who shows a token.

    Attributes:
        credential_id: The credential's key.
        role: What it may do.
        device_id: The device's key; None but for `Role.DEVICE`.
        device: The device's name; None but for `Role.DEVICE`.
        expires_ms: When it ends; None: never.
    """

    credential_id: int
    role: Role
    device_id: int | None = None
    device: str | None = None
    expires_ms: int | None = None


class EnrolError(Exception):
    """A box cannot be enrolled; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Credentials:
    """The credentials of a store; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        """Opens them.

        Args:
            engine: A database at today's tables.
        """
        self._engine = engine
        self._writing = writing(engine)

    def find(self, token: str, now_ms: int) -> Bearer | None:
        """Looks a token up.

        Args:
            token: What was shown.
            now_ms: Now.

        Returns:
            Who bears it; None for one that is unknown, used up, expired or revoked, or whose
            device is.
        """
        return self.find_all([token], now_ms).get(token)

    def find_all(self, tokens: Iterable[str], now_ms: int) -> dict[str, Bearer]:
        """Looks tokens up that were shown at about the same time; see `find`.

        Args:
            tokens: At most some hundreds.
            now_ms: Now.

        Returns:
            Who bears each; the others are left out.
        """
        digests = {token: token_hash(token) for token in tokens}
        wanted = [digest for digest in digests.values() if digest is not None]
        if not wanted:
            return {}
        with self._engine.connect() as connection:
            rows = connection.execute(_FIND, {"digests": wanted, "now_ms": now_ms})
            found = {
                digest: Bearer(key, Role(role), device_id, name, expires_ms)
                for digest, key, role, device_id, name, expires_ms in rows
            }
        return {
            token: found[digest]
            for token, digest in digests.items()
            if digest is not None and digest in found
        }

    def make(
        self,
        role: Role,
        now_ms: int,
        *,
        label: str = "",
        expires_ms: int | None = None,
        uses: int | None = None,
    ) -> str:
        """Makes a token that is not a device's.

        Args:
            role: ENROL, READER or ADMIN.
            now_ms: Now.
            label: A word for people.
            expires_ms: When it ends; None: never.
            uses: The enrolments it is good for; of `Role.ENROL` only.

        Returns:
            The token, which is shown this once.
        """
        with self._writing.begin() as connection:
            return _insert(
                connection, role, now_ms, label=label, expires_ms=expires_ms, uses_left=uses
            )

    def enrol(self, bearer: Bearer, name: str, label: str, now_ms: int) -> str:
        """Makes a device and its credential, and counts the enrolment token down.

        Args:
            bearer: Of the enrolment token.
            name: What the box calls itself: its random id.
            label: A word for people; may be empty.
            now_ms: Now.

        Returns:
            The device's token.

        Raises:
            EnrolError: The name is none or taken, or the token was used up meanwhile.
        """
        if not _DEVICE_NAME.fullmatch(name):
            raise EnrolError(
                422, "a device's id has 4 to 64 letters, digits, dots, dashes and underscores"
            )
        if len(label) > _MAX_LABEL or not label.isprintable():
            raise EnrolError(422, f"a label has at most {_MAX_LABEL} printable characters")
        counted = (
            update(credential)
            .where(
                credential.c.id == bearer.credential_id,
                credential.c.role == Role.ENROL,
                credential.c.revoked_ms.is_(None),
                credential.c.uses_left > 0,
            )
            .values(uses_left=credential.c.uses_left - 1)
        )
        try:
            with self._writing.begin() as connection:
                if connection.execute(counted).rowcount != 1:
                    raise EnrolError(401, "the enrolment token is used up")
                made = device.insert().values(name=name, label=label, enrolled_ms=now_ms)
                key = connection.execute(made.returning(device.c.id)).scalar_one()
                return _insert(connection, Role.DEVICE, now_ms, device_id=key)
        except IntegrityError as error:
            raise EnrolError(
                409,
                f"a device {name!r} is enrolled already; edgepack-runner reset-id gives this box "
                "a new id, edgepack hub device reissue a new credential for the old one",
            ) from error

    def rotate(self, bearer: Bearer, now_ms: int) -> str:
        """Replaces a device's token; the old one ends at once.

        Args:
            bearer: Of the device's token.
            now_ms: Now.

        Returns:
            The new token.

        Raises:
            EnrolError: It was replaced by somebody else meanwhile.
        """
        with self._writing.begin() as connection:
            ended = connection.execute(
                update(credential)
                .where(
                    credential.c.id == bearer.credential_id,
                    credential.c.role == Role.DEVICE,
                    credential.c.revoked_ms.is_(None),
                )
                .values(revoked_ms=now_ms)
            )
            if ended.rowcount != 1:
                raise EnrolError(401, "the token is not valid any more")
            return _insert(connection, Role.DEVICE, now_ms, device_id=bearer.device_id)

    def reissue(self, name: str, now_ms: int) -> str:
        """Ends every token of a device and makes a new one, as when its disk was lost.

        Args:
            name: The device.
            now_ms: Now.

        Returns:
            The new token.

        Raises:
            ConfigError: There is no such device.
        """
        with self._writing.begin() as connection:
            key = _device_key(connection, name)
            _revoke_tokens(connection, key, now_ms)
            connection.execute(update(device).where(device.c.id == key).values(revoked_ms=None))
            return _insert(connection, Role.DEVICE, now_ms, device_id=key)

    def revoke_device(self, name: str, now_ms: int) -> None:
        """Takes nothing more from a device; its reports stay.

        Raises:
            ConfigError: There is no such device.
        """
        with self._writing.begin() as connection:
            key = _device_key(connection, name)
            _revoke_tokens(connection, key, now_ms)
            connection.execute(update(device).where(device.c.id == key).values(revoked_ms=now_ms))

    def revoke(self, credential_id: int, now_ms: int) -> None:
        """Ends a token.

        Raises:
            ConfigError: There is none of that number, or it has ended already.
        """
        with self._writing.begin() as connection:
            ended = connection.execute(
                update(credential)
                .where(credential.c.id == credential_id, credential.c.revoked_ms.is_(None))
                .values(revoked_ms=now_ms)
            )
            if ended.rowcount != 1:
                raise ConfigError(
                    f"there is no token number {credential_id} that could be revoked",
                    hint="edgepack hub token list",
                )

    def list_tokens(self) -> list[Mapping[str, Any]]:
        """Returns every token that is not a device's, without the tokens themselves."""
        columns = credential.c
        wanted = (
            select(
                *(columns.id, columns.role, columns.label, columns.created_ms),
                *(columns.expires_ms, columns.revoked_ms, columns.uses_left),
            )
            .where(columns.role != Role.DEVICE)
            .order_by(columns.id)
        )
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(wanted).mappings()]

    def any_reader(self) -> bool:
        """Says whether somebody could read; a new store has nobody."""
        wanted = select(credential.c.id).where(
            credential.c.role.in_([Role.READER, Role.ADMIN]), credential.c.revoked_ms.is_(None)
        )
        with self._engine.connect() as connection:
            return connection.execute(wanted.limit(1)).one_or_none() is not None


_FIND: Final = (
    select(
        *(credential.c.token_sha256, credential.c.id, credential.c.role),
        *(credential.c.device_id, device.c.name, credential.c.expires_ms),
    )
    .select_from(credential.outerjoin(device))
    .where(
        credential.c.token_sha256.in_(bindparam("digests", expanding=True)),
        credential.c.revoked_ms.is_(None),
        or_(credential.c.expires_ms.is_(None), credential.c.expires_ms > bindparam("now_ms")),
        or_(credential.c.uses_left.is_(None), credential.c.uses_left > 0),
        device.c.revoked_ms.is_(None),
    )
)


def _insert(connection: Connection, role: Role, now_ms: int, **values: Any) -> str:
    token = make_token(role)
    digest = token_hash(token)
    if digest is None:
        raise HubError("the token that was made has not the form of one")
    connection.execute(
        credential.insert().values(token_sha256=digest, role=str(role), created_ms=now_ms, **values)
    )
    return token


def _device_key(connection: Connection, name: str) -> int:
    key = connection.execute(select(device.c.id).where(device.c.name == name)).scalar_one_or_none()
    if key is None:
        raise ConfigError(f"there is no device {name!r}", hint="edgepack report fleet")
    return int(key)


def _revoke_tokens(connection: Connection, device_key: int, now_ms: int) -> None:
    connection.execute(
        update(credential)
        .where(credential.c.device_id == device_key, credential.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms)
    )
