"""``@sessionpersist.background``: views that ask for something by themselves, such as for news every ten seconds."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

V = TypeVar("V", bound=Callable[..., Any])


def background(view: V) -> V:
    """Mark a view as one that a page asks by itself: that a user is there does not follow from it.

    It may read and change the session; that is no use of it and does not put off its end. For functions, sync and
    async, for view classes, and around what ``as_view()`` returns.
    """
    if isinstance(view, type):
        view.dispatch = _marking(view.dispatch, first=1)  # type: ignore[attr-defined] # after self
        return view
    return _marking(view)


def _marking(view: V, first: int = 0) -> V:
    """Return the view, which then says so of each request: the first of its arguments from there that has a session."""
    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def marked(*args: Any, **kwargs: Any) -> Any:
            _mark(args[first:])
            return await view(*args, **kwargs)
    else:

        @functools.wraps(view)
        def marked(*args: Any, **kwargs: Any) -> Any:
            _mark(args[first:])
            return view(*args, **kwargs)

    return marked  # type: ignore[return-value]


def _mark(args: tuple[Any, ...]) -> None:
    request = next((each for each in args if hasattr(each, "session")), None)
    if request is not None:
        request.session.background = True
