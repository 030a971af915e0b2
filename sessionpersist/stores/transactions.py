"""Whether what was written is there to stay, and what to do once it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from django.db import connections, transaction

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.threads import NoThread, begin_thread, leaving_no_connection, settle

T = TypeVar("T")
View = TypeVar("View", bound=Callable[..., Any])


def in_no_transaction(view: View) -> View:
    """Have Django call this view outside ATOMIC_REQUESTS, whichever databases have it set."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def after_commit(action: Callable[[], Any], using: str) -> None:
    """Run it when what was written is visible to others: at once outside a transaction.

    Inside a TestCase nothing is ever committed; there "at once" is what the test expects.
    """
    if is_committed(using):
        action()
    else:
        transaction.on_commit(action, using=using)


def is_committed(using: str) -> bool:
    """Return whether what was written so far is visible to others, or would be but for a TestCase."""
    blocks = transaction.get_connection(using).atomic_blocks
    return all(getattr(block, "_from_testcase", False) for block in blocks)


def may_see_the_past(using: str) -> bool:
    """Return whether this thread is in a transaction, which may not see what others have committed since it began.

    Inside a TestCase, others see nothing of what the test has written; there the answer is False.
    """
    blocks = transaction.get_connection(using).atomic_blocks
    return bool(blocks) and not any(getattr(block, "_from_testcase", False) for block in blocks)


def outside(call: Callable[[], T]) -> T:
    """Run it in a thread of its own, which takes part in no transaction of this one and sees what others committed.
    StoreUnavailable where no thread can be had."""
    future: Future[T] = Future()
    try:
        begin_thread("sessionpersist-outside", partial(settle, future, leaving_no_connection(call)))
    except NoThread as error:
        raise StoreUnavailable("This process can't start another thread right now.") from error
    return future.result()
