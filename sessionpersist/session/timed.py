"""What the policy means for one session: the part of the engine that knows of time (see ``policy.py``)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import SessionBase
from django.utils import timezone

from sessionpersist.awaiting import awaited
from sessionpersist.session import policy
from sessionpersist.session.held import Held
from sessionpersist.session.policy import EXPIRY, LIFE, REMEMBER, Policy
from sessionpersist.session.reasons import Reason
from sessionpersist.stores.base import Record, now_ms, storable_time


class Timed(SessionBase):
    """``background``: what is done with the session does not count as use (see ``background.py``)."""

    if TYPE_CHECKING:  # Django's own, which its stubs leave out
        _session: dict[str, Any]
        _session_cache: dict[str, Any]

        def _get_session(self, no_load: bool = False) -> dict[str, Any]: ...

        async def _aget_session(self) -> dict[str, Any]: ...

    background = False
    _held: Held | None = None
    _is_used = False  # that is all that there is to save, unless the content has changed
    _logs_in = False  # a user has logged in, and that is not saved yet

    def _policy(self) -> Policy:
        """Return what is in force."""
        raise NotImplementedError

    def remember(self, on: bool = True) -> None:
        """Keep the user logged in when the browser is closed, for as long as ``remember_days`` says; or no longer.

        Without effect where ``remember_days`` is not set, until it is.
        """
        if on:
            self[REMEMBER] = True
        else:
            self.pop(REMEMBER, None)

    async def aremember(self, on: bool = True) -> None:
        """See remember()."""
        await self._aget_session()
        self.remember(on)

    def get_session_cookie_age(self) -> int:
        """Return for how many seconds a browser keeps the cookie: as Django does, but not less than the session may go
        unused. The cookie of a remembered session goes when the session does, which is so long after the login."""
        in_force, session = self._policy(), getattr(self, "_session_cache", {})
        if in_force.remember is not None and policy.is_remembered(session):
            return max(0, (self._begun(self._held) + in_force.remember - now_ms()) // 1000)
        age = super().get_session_cookie_age()
        return age if in_force.idle is None else max(age, in_force.idle // 1000)

    def get_expire_at_browser_close(self) -> bool:
        """Return whether the cookie ends with the browser: where ``remember_days`` is set, it does unless the user has
        asked to be remembered; otherwise as Django has it. What ``set_expiry`` said goes first."""
        if self._policy().remember is not None and self.get(EXPIRY) is None:
            return not policy.is_remembered(self._session)
        return super().get_expire_at_browser_close()

    async def aget_expire_at_browser_close(self) -> bool:
        """See get_expire_at_browser_close()."""
        await self._aget_session()
        return await awaited(self.get_expire_at_browser_close)

    async def aget_expiry_age(self, **known: Any) -> int:
        """See get_expiry_age()."""
        await self._aget_session()
        return await awaited(self.get_expiry_age, **known)

    async def aget_expiry_date(self, **known: Any) -> datetime:
        """See get_expiry_date()."""
        await self._aget_session()
        return await awaited(self.get_expiry_date, **known)

    def note_use(self) -> None:
        """A view has used the session: where that is due, have it saved with the response, with a new cookie."""
        held, session = self._held, getattr(self, "_session_cache", None)
        if held is None or session is None or self.background or self.modified:
            return
        if policy.is_use_due(self._policy(), session, held.expires_at, now_ms()):
            self.modified = self._is_used = True

    def _is_too_late(self, expires_at: int) -> bool:
        """Whether the record expires so much later than it should that a process wrote it that knows of no policy. A
        touch takes nothing back."""
        assert self._held is not None
        return LIFE in self._session_cache and self._held.expires_at > expires_at + policy.CLOCKS

    def time_left(self) -> tuple[int | None, bool]:
        """Return in how many milliseconds the session ends unless it is used, and whether a use puts that off. None
        where the policy sets no limit for it, and for a session that is not saved yet."""
        session, in_force = self._session, self._policy()
        life, absolute = in_force.life_of(session), in_force.limits(policy.is_remembered(session))[1]
        if self._held is None or (life is None and absolute is None):
            return None, False
        end = self._end(in_force, session, self._held.created_at, self._held.expires_at)
        return max(end.at - now_ms(), 0), life is not None and end.reason is not Reason.ABSOLUTE

    async def atime_left(self) -> tuple[int | None, bool]:
        """See time_left()."""
        await self._aget_session()
        return await awaited(self.time_left)

    def _ended_by_policy(self, data: dict[str, Any], record: Record) -> Reason | None:
        """Return why the policy has ended a session that its store still has; None where it has not."""
        in_force = self._policy()
        if not in_force.has_times and LIFE not in data:
            return None  # all is as Django has it
        end = self._end(in_force, data, record.created_at, record.expires_at)
        return end.reason if end.at <= now_ms() else None

    def _end(self, in_force: Policy, session: dict[str, Any], begun: int, expires_at: int) -> policy.End:
        return policy.end_of(in_force, session, begun, expires_at, now_ms(), self._cookie_age())

    def _cookie_age(self) -> int:
        """Return how long Django's sessions last, in milliseconds."""
        return storable_time(float(super().get_session_cookie_age()) * 1000)

    def _begun(self, held: Held | None) -> int:
        """Return when the session began: with the login of its user, whatever keys it has had since."""
        user = getattr(self, "_session_cache", {}).get(USER_ID)
        logs_in = self._logs_in or (user is not None and held is not None and user != held.user)
        if held is None or self._session_key is None or logs_in:
            return now_ms()
        return held.created_at

    def _expires_at(self) -> int:
        """Return the end of the session, as every store can keep it."""
        if self._stays_unused():
            assert self._held is not None
            return self._held.expires_at
        expiry, life = self._session_cache.get(EXPIRY), self._session_cache.get(LIFE)
        if expiry and isinstance(expiry, str | datetime):
            return storable_time(unix_time(self.get_expiry_date()) * 1000)
        if life is not None:
            return now_ms() + int(life)
        # A project's subclass may decide about all of its sessions, as Django's cache and db engines let it.
        decides = type(self).get_expiry_age is not SessionBase.get_expiry_age
        if not decides and type(self).get_expiry_date is not SessionBase.get_expiry_date:
            return storable_time(unix_time(self.get_expiry_date()) * 1000)
        # Seconds, in any type of number that Django takes. Most sessions have none of their own.
        seconds = self.get_expiry_age() if expiry or decides else self.get_session_cookie_age()
        return storable_time(now_ms() + float(seconds) * 1000)

    def _stays_unused(self) -> bool:
        """Whether a save leaves the last use of the session as it was."""
        return (
            self.background and self._held is not None and LIFE in self._session_cache and not self._logs_in
        )

    def _set_life(self, data: dict[str, Any]) -> None:
        """Note in a session that is about to be saved which life the policy gives it, if any."""
        life = self._policy().life_of(data)
        if life is None:
            data.pop(LIFE, None)
        elif not self._stays_unused():
            data[LIFE] = life


def sealed_end(expires_at: int, life: int | None) -> int:
    """Return when a session is over at the latest, unless it is saved before: so that not each touch has to be a save,
    a twentieth of its time after it expires, and a minute at least. Where its use is noted, which is a touch, it is a
    quarter of its life."""
    some = (expires_at - now_ms()) // 20 if life is None else life // 4
    return expires_at + max(some, 60_000)


def unix_time(moment: datetime) -> float:
    """Return seconds since 1970. A moment without a time zone is in the project's, as in Django's models."""
    if timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.timestamp()
