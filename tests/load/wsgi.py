"""The site with a few pages for clients that are programs."""

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

settings.ROOT_URLCONF = "tests.load.urls"
django.setup(set_prefix=False)
application = WSGIHandler()
