"""What Django's own engines answer by their async methods, this one answers on every store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.backends.file import SessionStore as FileSession

from sessionpersist.engine import SessionStore
from tests.aio.conftest import KINDS
from tests.engine.test_beside_django import BEHAVIOURS, AsyncSession


@pytest.mark.usefixtures("in_force")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_answer_is_that_of_an_engine_of_django(
    kind: str,
    behaviour: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Django remembers the first folder that SESSION_FILE_PATH names, which is gone with the test that had it.
    folder = str(tmp_path_factory.mktemp("files"))
    monkeypatch.setattr(FileSession, "_storage_path", folder, raising=False)
    theirs = behaviour(lambda *key: AsyncSession(FileSession(*key)))
    assert behaviour(lambda *key: AsyncSession(SessionStore(*key))) == theirs
