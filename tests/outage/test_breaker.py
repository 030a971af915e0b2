"""The circuit breaker, on a clock of the test's."""

from __future__ import annotations

import threading

from sessionpersist.stores.breaker import FAULTS, PAUSE, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAULTS):
        assert breaker.admits()
        breaker.failed()
    return breaker


def test_fewer_faults_than_the_limit_leave_it_closed() -> None:
    breaker = Breaker(Clock())
    for _ in range(FAULTS - 1):
        breaker.failed()
    assert breaker.admits()


def test_an_answer_between_faults_starts_the_count_again() -> None:
    breaker = Breaker(Clock())
    for _ in range(10):
        for _ in range(FAULTS - 1):
            breaker.failed()
        breaker.succeeded()
    assert breaker.admits()


def test_repeated_faults_open_it() -> None:
    assert not opened(Clock()).admits()


def test_after_the_pause_one_caller_is_admitted() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    assert [breaker.admits() for _ in range(5)] == [True, False, False, False, False]


def test_a_trial_that_never_reports_is_followed_by_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    assert breaker.admits()
    clock.now += PAUSE
    assert breaker.admits()


def test_a_trial_that_fails_opens_it_for_another_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    assert breaker.admits()
    clock.now += PAUSE / 2
    breaker.failed()
    clock.now += PAUSE * 0.9
    assert not breaker.admits()


def test_a_trial_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    assert breaker.admits()
    breaker.succeeded()
    assert all(breaker.admits() for _ in range(5))


def test_who_wants_to_try_as_another_has_just_succeeded_is_admitted() -> None:
    assert Breaker(Clock())._admits_trial()


def test_only_the_first_fault_and_the_first_answer_after_it_are_news() -> None:
    breaker = Breaker(Clock())
    assert [breaker.succeeded(), breaker.failed(), breaker.failed(), breaker.failed()] == [
        False,
        True,
        False,
        False,
    ]
    assert [breaker.succeeded(), breaker.succeeded(), breaker.failed()] == [True, False, True]


def test_many_threads_after_the_pause_one_trial() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += PAUSE
    admitted: list[bool] = []
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        admitted.append(breaker.admits())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert admitted.count(True) == 1
