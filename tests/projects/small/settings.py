"""Somebody else's project: its settings, as short as can be. The engine and the app's options come from outside."""

import json
import os

SECRET_KEY = "for-the-tests-of-a-project"
INSTALLED_APPS = [
    "sessionpersist",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "sessionpersist.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "small.urls"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True

SESSION_ENGINE = os.environ["SMALL_ENGINE"]
# The configuration would have to be read at each request, and the process to report itself at the first.
SESSIONPERSIST = {
    "MEMORY_DIR": os.environ["SMALL_MEMORY"],
    "REFRESH_SECONDS": 1e-6,
    "ACTIVATION_SECONDS": 0,
    **json.loads(os.environ.get("SMALL_OPTIONS", "{}")),
}
