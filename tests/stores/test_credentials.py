"""What a store logs in with, where it changes while the site runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessionpersist.exceptions import StoreMisconfigured, StoreUnavailable
from sessionpersist.stores.credentials import KEPT, Credentials

HERE = __name__


class Provider:
    """As redis-py wants it."""

    tokens = 0

    def get_credentials(self) -> tuple[str, str]:
        Provider.tokens += 1
        return "cloud", f"token-{Provider.tokens}"


def only_a_password() -> str:
    return "hush"


def nothing() -> Any:
    return None


def broken() -> Any:
    raise RuntimeError("hush")


def test_a_password_that_stays_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSIONPERSIST_A", "one")
    credentials = Credentials("app", "env:SESSIONPERSIST_A")
    monkeypatch.setenv("SESSIONPERSIST_A", "two")
    assert credentials.now() == ("app", "one")
    assert not credentials.changing


def test_a_file_is_read_at_each_login(tmp_path: Path) -> None:
    file = tmp_path / "password"
    credentials = Credentials("app", f"file:{file}")
    with pytest.raises(StoreMisconfigured, match="can't be read on this node") as caught:
        credentials.now()
    assert caught.value.field == "password"
    for number in range(KEPT + 1):
        file.write_text(f"hush{number}\r\n")
        assert credentials.now() == ("app", f"hush{number}")
    assert credentials.secrets == tuple(f"hush{number}" for number in range(KEPT, 0, -1))
    assert "hush" not in repr(vars(credentials))


def test_a_provider_is_asked_at_each_login() -> None:
    credentials = Credentials("ignored", "", f"{HERE}.Provider")
    first, second = credentials.now(), credentials.now()
    assert first.username == "cloud"
    assert first.password != second.password


def test_a_provider_may_give_a_password_alone() -> None:
    assert Credentials("", "", f"{HERE}.only_a_password").now() == ("", "hush")


@pytest.mark.parametrize("name", ["nothing", "broken"])
def test_a_provider_that_fails_is_told_without_its_words(name: str) -> None:
    with pytest.raises(StoreUnavailable, match="The provider of CREDENTIALS gave no user name") as caught:
        Credentials("", "", f"{HERE}.{name}").now()
    assert "hush" not in str(caught.value)


def test_a_provider_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreMisconfigured, match=r"no\.such\.thing, which can't be used on this node"):
        Credentials("", "", "no.such.thing").now()
