"""A page in the frame of the project."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import select_template

TEMPLATES = "sessionpersist/account"


def show(
    request: HttpRequest, template: str, context: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    """Return one of the account's pages. ``page.html``, which they extend, puts them into the project's ``base.html``,
    or into a plain frame of our own where there is none."""
    frame = select_template(["base.html", f"{TEMPLATES}/base.html"])
    context = {"sessionpersist_frame": frame, **(context or {})}
    return render(request, f"{TEMPLATES}/{template}", context, status=status)
