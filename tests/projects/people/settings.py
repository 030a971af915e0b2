"""A project with a user model of its own, which comes from outside."""

import os

SECRET_KEY = "for-the-tests-of-a-project"
INSTALLED_APPS = [
    "people",
    "sessionpersist",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "sessionpersist.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "people.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
# The tables are made from the models: the one of the users has no migration.
MIGRATION_MODULES = dict.fromkeys(("admin", "auth", "contenttypes", "sessionpersist", "sessions"))
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
STATIC_URL = "static/"

AUTH_USER_MODEL = os.environ["USER_MODEL"]
SESSION_ENGINE = "sessionpersist.engine"
SESSIONPERSIST = {"MEMORY_DIR": os.environ["SMALL_MEMORY"], "ACTIVATION_SECONDS": 0}
