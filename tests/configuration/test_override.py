"""``override_login_configuration``, for the tests of projects that use the app."""

from __future__ import annotations

import pytest
from django.test import SimpleTestCase

from sessionpersist import routing
from sessionpersist.stores.settings import RedisSettings, StoreSettings
from sessionpersist.testing import override_login_configuration
from tests.engine.support import in_event_loop

one = override_login_configuration(persistence_type="REDIS", redis_host="one")
in_memory = override_login_configuration(persistence_type="IN_MEMORY")


def in_force() -> StoreSettings:
    return routing.current_settings()


def test_context_manager_is_in_force_at_once_and_asks_no_database() -> None:
    with in_memory:
        with override_login_configuration(persistence_type="REDIS", redis_host="one", redis_port=1):
            assert in_force() == RedisSettings(host="one", port=1)
        assert in_force().type == "IN_MEMORY"


def test_nested_ones_end_in_turn() -> None:
    with in_memory:
        with one:
            with in_memory:
                assert in_force().type == "IN_MEMORY"
            assert in_force() == RedisSettings(host="one")
        assert in_force().type == "IN_MEMORY"


def test_same_one_can_be_nested_and_used_again() -> None:
    for _ in range(2):
        with in_memory, one, one:
            assert in_force() == RedisSettings(host="one")


def test_error_inside_ends_it_too() -> None:
    with in_memory:
        with pytest.raises(RuntimeError), one:
            raise RuntimeError
        assert in_force().type == "IN_MEMORY"


@one
def test_decorator_of_a_function() -> None:
    assert in_force() == RedisSettings(host="one")


@in_event_loop
@one
async def test_decorator_of_a_coroutine_function() -> None:
    assert in_force() == RedisSettings(host="one")


@one
class DecoratedTests(SimpleTestCase):
    def test_decorator_of_a_class(self) -> None:
        assert in_force() == RedisSettings(host="one")

    @in_memory
    def test_decorator_of_a_method_wins_over_that_of_its_class(self) -> None:
        assert in_force().type == "IN_MEMORY"


def test_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError):
        override_login_configuration(persistence_type="REDIS", redis_hots="typo")


def test_fields_that_are_not_given_have_their_defaults() -> None:
    with one, override_login_configuration(persistence_type="REDIS"):
        assert in_force() == RedisSettings()
