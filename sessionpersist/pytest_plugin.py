"""Fixtures for pytest, which finds them by itself where the app is installed. They need pytest-django."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture(scope="session")
def login_configuration_of_run() -> Mapping[str, Any]:
    """Override this in your conftest.py: return the fields of the Login Configuration with which each test begins."""
    return {}


@pytest.fixture(scope="session", autouse=True)
def _login_configuration_of_run(login_configuration_of_run: Mapping[str, Any]) -> Iterator[None]:
    """Without any fields nothing of Django is touched: these may be the tests of something else."""
    with ExitStack() as stack:
        if login_configuration_of_run:
            from sessionpersist import testing

            stack.enter_context(testing.login_configuration_of_run(**login_configuration_of_run))
        yield


@pytest.fixture
def login_configuration() -> Iterator[Callable[..., None]]:
    """Return a function that puts the fields that it is given in force until the end of the test."""
    from sessionpersist.testing import override_login_configuration

    with ExitStack() as stack:

        def put_in_force(**fields: Any) -> None:
            stack.enter_context(override_login_configuration(**fields))

        yield put_in_force
