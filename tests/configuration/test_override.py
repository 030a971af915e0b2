"""``override_login_configuration``, for the tests of projects that use the app."""

from __future__ import annotations

import gc
import re
import threading
import unittest
from collections.abc import Callable

import pytest
from django.test import SimpleTestCase

from sessionpersist.handover import routing, snapshot
from sessionpersist.session.policy import AS_DJANGO
from sessionpersist.stores.settings import RedisSettings, StoreSettings
from sessionpersist.testing import login_configuration_of_run, override_login_configuration
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


@pytest.mark.parametrize("begin", ["enable", "__enter__"])
def test_one_that_nobody_keeps_lasts_until_it_is_ended(begin: str) -> None:
    with in_memory:
        getattr(override_login_configuration(persistence_type="REDIS", redis_host="unkept"), begin)()
        gc.collect()
        try:
            assert in_force() == RedisSettings(host="unkept")
        finally:
            snapshot.lift(snapshot.current())
        assert in_force().type == "IN_MEMORY"


def test_ones_that_overlap_end_each_by_itself() -> None:
    with in_memory:
        first = override_login_configuration(persistence_type="REDIS", redis_host="first")
        second = override_login_configuration(persistence_type="REDIS", redis_host="second")
        first.enable()
        second.enable()
        first.disable()
        assert in_force() == RedisSettings(host="second")
        second.disable()
        assert in_force().type == "IN_MEMORY"


def test_equal_ones_are_two() -> None:
    with in_memory, one:
        again = override_login_configuration(persistence_type="REDIS", redis_host="one")
        again.enable()
        again.disable()
        assert in_force() == RedisSettings(host="one")


def test_it_holds_for_all_threads_and_any_of_them_ends_it() -> None:
    seen = []

    def in_thread(call: Callable[[], object]) -> None:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join(10)

    with in_memory:
        in_thread(one.enable)
        in_thread(lambda: seen.append(in_force()))
        assert seen == [in_force()] == [RedisSettings(host="one")]
        in_thread(one.disable)
        assert in_force().type == "IN_MEMORY"


def test_context_of_a_test_case_lasts_as_long_as_the_test() -> None:
    seen = []

    class Tests(SimpleTestCase):
        def setUp(self) -> None:
            self.enterContext(override_login_configuration(persistence_type="REDIS", redis_host="one"))

        def test_something(self) -> None:
            gc.collect()
            seen.append(in_force())

    with in_memory:
        run(Tests)
        assert seen == [RedisSettings(host="one")]
        assert in_force().type == "IN_MEMORY"


def test_decorated_class_has_it_from_the_set_up_of_the_class_on() -> None:
    """As with Django's override_settings: setUpTestData can log a user in."""
    seen = []

    @one
    class Tests(SimpleTestCase):
        @classmethod
        def setUpClass(cls) -> None:
            super().setUpClass()
            seen.append(in_force())

        def test_something(self) -> None:
            seen.append(in_force())

    class MoreTests(Tests):
        pass

    with in_memory:
        for tests in (Tests, MoreTests):
            run(tests)
            assert in_force().type == "IN_MEMORY"
    assert seen == [RedisSettings(host="one")] * 4


def test_class_without_a_set_up_is_refused() -> None:
    with pytest.raises(TypeError, match="TestCase"):
        one(type("Tests", (), {}))


def run(tests: type[SimpleTestCase]) -> None:
    """Run these tests as a test runner does."""
    result = unittest.TestResult()
    unittest.TestSuite([tests("test_something")]).run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.errors + result.failures


def test_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError):
        override_login_configuration(persistence_type="REDIS", redis_hots="typo")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("idle_minutes", 0, "Enter 1 or more, or leave this empty."),
        ("absolute_hours", -1, "Enter 1 or more, or leave this empty."),
        ("remember_days", 36_526, "Enter at most 36525, which is a century."),
        ("idle_minutes", "30", "This must be a whole number."),
        ("max_sessions", 0, "Enter -1 for no limit, or 1 or more, up to 200."),
        ("max_sessions", 201, "Enter -1 for no limit, or 1 or more, up to 200."),
        ("at_limit", "EVERYBODY", "This must be one of END_OLDEST, REFUSE."),
    ],
)
def test_a_policy_that_the_page_refuses_is_refused(field: str, value: object, said: str) -> None:
    expected = re.escape(f"{field}: {said}")
    with pytest.raises(ValueError, match=expected):
        override_login_configuration(**{field: value})
    with pytest.raises(ValueError, match=expected), login_configuration_of_run(**{field: value}):
        pass


def test_an_empty_policy_is_that_of_django() -> None:
    with override_login_configuration(
        idle_minutes=None, absolute_hours=None, remember_days=None, max_sessions=-1
    ):
        assert snapshot.current().policy == AS_DJANGO


def test_fields_that_are_not_given_have_their_defaults() -> None:
    with one, override_login_configuration(persistence_type="REDIS"):
        assert in_force() == RedisSettings()
