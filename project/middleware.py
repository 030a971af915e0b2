"""What the site tells browsers, beyond what Django does by itself. The app does not need any of it."""

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

# Django shows these statuses with DEBUG as pages of its own, whose styles and scripts are inline.
SHOWN_BY_DEBUG = (400, 404, 500)
# On a request that came with an earlier session cookie: whether its session is taken from that.
IS_USED = "_earlier_session_cookie_is_used"

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Sends ``SECURE_CSP`` as Django's own middleware of this name does, which Django has from 6.0 on."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not (settings.DEBUG and response.status_code in SHOWN_BY_DEBUG):
            response.headers.setdefault("Content-Security-Policy", policy(settings.SECURE_CSP))
        return response


def policy(directives: Mapping[str, list[str]]) -> str:
    """The text of a header."""
    return "; ".join(" ".join([name, *sources]) for name, sources in directives.items())


class ClearSiteDataMiddleware(MiddlewareMixin):
    """Has the browser forget what the site left in it, whenever a session is over: by a logout anywhere, or because it
    was ended elsewhere or has expired.

    ``cache`` also takes the pages that “Back” would show, and ``storage`` what the admin remembers of filters and
    searches. Both end at this origin, which is the site's alone. ``cookies`` is missing on purpose: it would reach
    every other host of the domain and log users out of applications that are none of ours.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        cookie = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if cookie is not None and cookie["max-age"] == 0:
            response.headers["Clear-Site-Data"] = '"cache", "storage"'
        return response


class EarlierSessionCookieMiddleware(MiddlewareMixin):
    """Takes sessions from a cookie named ``EARLIER_SESSION_COOKIE`` too, and moves them to the name that is in use.

    It stands before SessionMiddleware. It is for the weeks after a change of the name and not for good: any host of the
    domain can plant a cookie that has no ``__Host-`` in its name, and with it a session of its own choice.
    """

    def __init__(self, get_response: GetResponse) -> None:
        super().__init__(get_response)
        self.earlier, self.name = settings.EARLIER_SESSION_COOKIE, settings.SESSION_COOKIE_NAME
        if self.earlier in ("", self.name):
            raise MiddlewareNotUsed

    def process_request(self, request: HttpRequest) -> None:
        """Take the earlier cookie out of the request: a report of a crash hides the value of the one in use only."""
        if self.earlier in request.COOKIES:
            earlier = request.COOKIES.pop(self.earlier)
            is_used = request.COOKIES.setdefault(self.name, earlier) == earlier != ""
            vars(request)[IS_USED] = is_used

    def process_view(self, request: HttpRequest, *view: Any) -> None:
        """Have the session saved, and so sent under the new name. One that is not there is looked for first, since
        saving it would be an error."""
        if getattr(request, IS_USED, False) and request.session.keys():
            request.session.modified = True

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if hasattr(request, IS_USED) and self.name in response.cookies:
            response.delete_cookie(self.earlier, samesite=settings.SESSION_COOKIE_SAMESITE)
        return response
