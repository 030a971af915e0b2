"""The site, and its static files, which a web server hands out in production."""

from django.contrib.staticfiles.handlers import StaticFilesHandler

from project.wsgi import application as site

application = StaticFilesHandler(site)
