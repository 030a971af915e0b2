"""The site with a few pages for clients that are programs.

Its static files are handed out as a web server does it: in the quickest way, and for the browser to keep. Django's own
view looks for each file again, once for each page where a checkout is so new that the browser guesses no age for it.

With STEP_SECONDS in its environment, a request for “Move the rest now” takes no longer, so few sessions take several.
"""

from __future__ import annotations

import functools
import mimetypes
import os
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import django
from django.contrib.staticfiles import finders
from django.core.handlers.wsgi import WSGIHandler

STATIC = "/static/"

django.setup(set_prefix=False)
site = WSGIHandler()

if seconds := os.environ.get("STEP_SECONDS"):
    from sessionpersist.configuration.views import draining

    draining.STEP_SECONDS = float(seconds)


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    content = static_file(path.removeprefix(STATIC)) if path.startswith(STATIC) else None
    if content is None:
        return site(environ, start_response)
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "max-age=3600"}
    start_response("200 OK", [*headers.items()])
    return [content]


@functools.cache
def static_file(name: str) -> bytes | None:
    found = finders.find(name)
    return Path(found).read_bytes() if found else None
