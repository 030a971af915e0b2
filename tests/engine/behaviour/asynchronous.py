"""The same session in an async view."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.utils import timezone

from sessionpersist.engine import SessionStore
from tests.engine.support import in_event_loop, key_of


class Asynchronous:
    @in_event_loop
    async def test_async_contents(self) -> None:
        session = SessionStore()
        await session.aset("cat", "tabby")
        await session.aupdate({"dog": "rex", "bird": "tweety"})
        assert await session.aget("cat") == "tabby"
        assert await session.aget("fish", "none") == "none"
        assert await session.apop("dog") == "rex"
        assert await session.apop("dog", None) is None
        assert await session.asetdefault("bird", "other") == "tweety"
        assert await session.asetdefault("fish", "wanda") == "wanda"
        assert await session.ahas_key("cat")
        assert sorted(await session.akeys()) == ["bird", "cat", "fish"]
        assert sorted(await session.avalues()) == ["tabby", "tweety", "wanda"]
        assert len(await session.aitems()) == 3

    @in_event_loop
    async def test_async_save_load_and_delete(self) -> None:
        session = SessionStore()
        await session.aset("cat", "tabby")
        await session.asave()
        key = key_of(session)
        assert await SessionStore().aexists(key)
        assert await SessionStore(key).aload() == {"cat": "tabby"}
        await session.adelete()
        assert not await SessionStore().aexists(key)

    @in_event_loop
    async def test_async_create_refuses_a_taken_key(self) -> None:
        session = SessionStore()
        await session.acreate()
        with pytest.raises(CreateError):
            await SessionStore(key_of(session)).asave(must_create=True)

    @in_event_loop
    async def test_async_save_does_not_revive_a_session_deleted_elsewhere(self) -> None:
        session = SessionStore()
        await session.acreate()
        mine = SessionStore(key_of(session))
        await mine.aset("cat", "tabby")
        await session.adelete()
        with pytest.raises(UpdateError):
            await mine.asave()
        assert not await SessionStore().aexists(key_of(session))

    @in_event_loop
    async def test_async_cycle_moves_the_content(self) -> None:
        session = SessionStore()
        await session.aset("cat", "tabby")
        await session.asave()
        old = key_of(session)
        parallel = SessionStore(old)
        await parallel.aset("dog", "rex")
        await parallel.asave()
        await session.acycle_key()
        assert not await SessionStore().aexists(old)
        assert await SessionStore(key_of(session)).aload() == {"cat": "tabby", "dog": "rex"}

    @in_event_loop
    async def test_async_flush_ends_the_session(self) -> None:
        session = SessionStore()
        await session.aset("cat", "tabby")
        await session.asave()
        old = key_of(session)
        await session.aflush()
        assert session.session_key is None
        assert not await SessionStore().aexists(old)

    @in_event_loop
    async def test_async_expiry(self) -> None:
        session = SessionStore()
        await session.aset_expiry(10)
        assert await session.aget_expiry_age() == 10
        await session.aset_expiry(0)
        assert await session.aget_expire_at_browser_close()
        await session.aset_expiry(None)
        assert await session.aget_expiry_age() == session.get_session_cookie_age()
        moment = timezone.now() + timedelta(hours=1)
        await session.aset_expiry(moment)
        assert await session.aget_expiry_date() == moment

    @in_event_loop
    async def test_async_test_cookie(self) -> None:
        session = SessionStore()
        await session.aset_test_cookie()
        assert await session.atest_cookie_worked()
        await session.adelete_test_cookie()
        assert not await session.atest_cookie_worked()

    @in_event_loop
    async def test_async_clear_expired_keeps_the_live(self) -> None:
        session = SessionStore()
        await session.acreate()
        await SessionStore.aclear_expired()
        assert await SessionStore().aexists(key_of(session))
