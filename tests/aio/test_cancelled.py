"""A client that hangs up cancels its request, wherever that waits: its session is whole, and the connection of no other
request is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY

from sessionpersist import stores
from sessionpersist.engine import SessionStore
from sessionpersist.handover import routing
from sessionpersist.stores.guarded import GuardedStore
from tests.aio.conftest import KINDS
from tests.aio.interrupting import WHEN, cancelled_at
from tests.aio.looping import watched
from tests.engine.support import key_of

pytestmark = [
    pytest.mark.usefixtures("in_force"),
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.parametrize("when", WHEN),
]
BEFORE = {"cat": "tabby"}
MOST = 60  # waits of one operation


async def saved(**more: Any) -> SessionStore:
    session = SessionStore()
    await session.aupdate({**BEFORE, **more})
    await session.asave()
    return session


async def content(key: str) -> dict[str, Any]:
    return dict(await SessionStore(key).aload())


async def is_sound() -> None:
    """Whatever was cancelled, the next ones are served, each with what is its own, and nobody was to blame."""
    sessions = [await saved(number=number) for number in range(3)]
    found = await asyncio.gather(*(content(key_of(each)) for each in sessions))
    assert [each["number"] for each in found] == [0, 1, 2]
    for each in sessions:
        await each.adelete()
    guarded = stores.open_store(routing.current_settings())
    assert isinstance(guarded, GuardedStore)
    assert guarded.breaker.healthy


async def at_each_wait(
    when: str,
    operation: Callable[[SessionStore], Awaitable[object]],
    look: Callable[[SessionStore, str], Awaitable[None]],
    *,
    cold: bool,
) -> None:
    """Cancel an operation on a session at its first wait, then at its second, until it has no more of them. Each time
    ``look`` is given the session and the key that it had before. ``cold``: where nothing is connected."""
    loop = asyncio.get_running_loop()
    for number in range(MOST):
        session = SessionStore(key := key_of(await saved()))
        await session.aload()
        if cold:
            stores.open_store(routing.current_settings()).close()
        else:
            await content(key)
        before = watched(loop)
        was_cancelled = await cancelled_at(number, when, operation(session))  # type: ignore[arg-type]
        assert watched(loop) == before
        await look(session, key)
        await is_sound()
        if not was_cancelled:
            return
    pytest.fail("It waits without end.")


@pytest.mark.parametrize("cold", [False, True])
def test_a_cancelled_save_is_done_or_not_done(kind: str, when: str, cold: bool) -> None:
    async def save(session: SessionStore) -> None:
        await session.aset("dog", "rex")
        await session.asave()

    async def whole(session: SessionStore, key: str) -> None:
        assert await content(key) in (BEFORE, {**BEFORE, "dog": "rex"})

    async_to_sync(at_each_wait)(when, save, whole, cold=cold)


def test_a_cancelled_load_is_loaded_again(kind: str, when: str) -> None:
    async def load(session: SessionStore) -> None:
        await session.aload()

    async def still_there(session: SessionStore, key: str) -> None:
        assert await session.aload() == BEFORE

    async_to_sync(at_each_wait)(when, load, still_there, cold=False)


@pytest.mark.parametrize("cold", [False, True])
def test_a_cancelled_login_leaves_the_session_under_one_key(kind: str, when: str, cold: bool) -> None:
    async def log_in(session: SessionStore) -> None:
        await session.aupdate({SESSION_KEY: "7", HASH_SESSION_KEY: "hash"})
        await session.acycle_key()
        await session.asave()

    async def one_of_them(session: SessionStore, key: str) -> None:
        old, new = await content(key), await content(session.session_key or "")
        assert old in (BEFORE, {})
        if not old:
            assert (new["cat"], new[SESSION_KEY]) == ("tabby", "7")

    async_to_sync(at_each_wait)(when, log_in, one_of_them, cold=cold)


def test_a_cancelled_logout_is_done_or_not_done(kind: str, when: str) -> None:
    async def log_out(session: SessionStore) -> None:
        await session.aflush()

    async def all_or_nothing(session: SessionStore, key: str) -> None:
        assert await content(key) in (BEFORE, {})

    async_to_sync(at_each_wait)(when, log_out, all_or_nothing, cold=False)
