"""The site with a few pages for clients that are programs."""

import django
from django.core.handlers.wsgi import WSGIHandler

django.setup(set_prefix=False)
application = WSGIHandler()
