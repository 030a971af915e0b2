"""The configuration of a gunicorn that loads the site before it forks workers of gevent.

Django, too, needs the standard library patched before it is loaded.
"""

from gevent import monkey

monkey.patch_all()
