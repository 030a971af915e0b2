"""What is around each view of the page: no secret in a report, a new session key, no transaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_post_parameters

from sessionpersist.configuration.forms import secret_fields
from sessionpersist.configuration.reauthentication import FIELD, renew_key
from sessionpersist.stores.secret import Secret
from sessionpersist.stores.transactions import in_no_transaction

SECRETS = (*secret_fields(), FIELD)

View = Callable[..., HttpResponse]


def wrapped(view: View, site: AdminSite) -> View:
    """Behind the admin's login and CSRF check, and outside ATOMIC_REQUESTS: a failed probe would break it."""

    def with_new_key(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        renew_key(request)
        return response

    # Outermost: a crash may come as the session is loaded.
    return in_no_transaction(without_secrets_in_reports(site.admin_view(with_new_key)))


def without_secrets_in_reports(view: View) -> View:
    """Have reports about crashes show no secret that was sent, neither as it came nor as the form has it."""

    @wraps(view)
    @sensitive_post_parameters(*SECRETS)
    def hiding(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if any(name in request.POST for name in SECRETS):
            sent = request.POST.copy()
            for name in filter(sent.__contains__, SECRETS):
                sent.setlist(name, [Secret(each) for each in sent.getlist(name)])
            sent._mutable = False
            request.POST = sent  # type: ignore[assignment]
        return view(request, *args, **kwargs)

    return hiding
