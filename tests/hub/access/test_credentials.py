from __future__ import annotations

import pytest
from sqlalchemy import Engine, select

from edgepack.formats.errors import ConfigError
from edgepack.hub.access.credentials import Bearer, Credentials, EnrolError
from edgepack.hub.access.roles import Role
from edgepack.hub.access.tokens import token_hash
from edgepack.hub.store.schema import credential
from tests.hub.reports import DEVICE, NOW_MS


def _bearer(credentials: Credentials, token: str, now_ms: int = NOW_MS) -> Bearer:
    found = credentials.find(token, now_ms)
    assert found is not None
    return found


def _enrolled(credentials: Credentials, name: str = DEVICE) -> str:
    token = credentials.make(Role.ENROL, NOW_MS, uses=1)
    return credentials.enrol(_bearer(credentials, token), name, "till 7", NOW_MS)


def test_a_token_is_kept_as_its_hash_alone(store: Engine) -> None:
    token = Credentials(store).make(Role.READER, NOW_MS)
    with store.connect() as connection:
        (row,) = connection.execute(select(credential)).mappings()
    assert row["token_sha256"] == token_hash(token)
    assert token not in str(dict(row))


def test_tokens_that_are_looked_up_together_are_each_found_or_left_out(store: Engine) -> None:
    credentials = Credentials(store)
    device, reader = _enrolled(credentials), credentials.make(Role.READER, NOW_MS)
    ended = credentials.make(Role.READER, NOW_MS, expires_ms=NOW_MS)
    wrong = [ended, "", "edgepack_reader_" + "x" * 43]
    found = credentials.find_all([device, *wrong, reader], NOW_MS)
    assert {token: bearer.role for token, bearer in found.items()} == {
        device: Role.DEVICE,
        reader: Role.READER,
    }
    assert credentials.find_all(wrong[1:], NOW_MS) == {}


def test_an_enrolment_token_is_good_for_so_many_boxes(store: Engine) -> None:
    credentials = Credentials(store)
    token = credentials.make(Role.ENROL, NOW_MS, uses=2)
    bearer = _bearer(credentials, token)
    for name in ("box-1", "box-2"):
        credentials.enrol(bearer, name, "", NOW_MS)
    assert credentials.find(token, NOW_MS) is None
    with pytest.raises(EnrolError) as caught:
        credentials.enrol(bearer, "box-3", "", NOW_MS)
    assert caught.value.status == 401


def test_a_device_that_is_there_is_not_enrolled_again_and_costs_no_use(store: Engine) -> None:
    credentials = Credentials(store)
    _enrolled(credentials)
    token = credentials.make(Role.ENROL, NOW_MS, uses=1)
    with pytest.raises(EnrolError) as caught:
        credentials.enrol(_bearer(credentials, token), DEVICE, "", NOW_MS)
    assert caught.value.status == 409
    assert credentials.find(token, NOW_MS) is not None


@pytest.mark.parametrize("name", ["", "abc", "a b c d", "<script>", "x" * 65, "../../etc"])
def test_a_name_that_is_none_is_refused(store: Engine, name: str) -> None:
    credentials = Credentials(store)
    bearer = _bearer(credentials, credentials.make(Role.ENROL, NOW_MS, uses=1))
    with pytest.raises(EnrolError) as caught:
        credentials.enrol(bearer, name, "", NOW_MS)
    assert caught.value.status == 422


def test_rotating_ends_the_old_token(store: Engine) -> None:
    credentials = Credentials(store)
    old = _enrolled(credentials)
    bearer = _bearer(credentials, old)
    new = credentials.rotate(bearer, NOW_MS)
    assert credentials.find(old, NOW_MS) is None
    assert _bearer(credentials, new).device == DEVICE
    with pytest.raises(EnrolError):
        credentials.rotate(bearer, NOW_MS)


def test_a_revoked_device_is_known_to_nobody_until_it_gets_a_new_token(store: Engine) -> None:
    credentials = Credentials(store)
    token = _enrolled(credentials)
    credentials.revoke_device(DEVICE, NOW_MS)
    assert credentials.find(token, NOW_MS) is None
    again = credentials.reissue(DEVICE, NOW_MS)
    assert credentials.find(token, NOW_MS) is None
    assert _bearer(credentials, again).role is Role.DEVICE


def test_a_token_ends_at_its_time(store: Engine) -> None:
    credentials = Credentials(store)
    token = credentials.make(Role.READER, NOW_MS, expires_ms=NOW_MS + 1)
    assert credentials.find(token, NOW_MS) is not None
    assert credentials.find(token, NOW_MS + 1) is None


def test_a_token_is_revoked_by_its_number_once(store: Engine) -> None:
    credentials = Credentials(store)
    token = credentials.make(Role.READER, NOW_MS, label="prometheus")
    (row,) = credentials.list_tokens()
    assert credentials.any_reader()
    credentials.revoke(row["id"], NOW_MS)
    assert credentials.find(token, NOW_MS) is None
    assert not credentials.any_reader()
    with pytest.raises(ConfigError):
        credentials.revoke(row["id"], NOW_MS)


@pytest.mark.parametrize("token", ["", "edgepack_reader_", "x" * 100, "edgepack_reader_é"])
def test_what_is_no_token_is_not_even_looked_up(store: Engine, token: str) -> None:
    assert Credentials(store).find(token, NOW_MS) is None
