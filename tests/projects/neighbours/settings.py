"""A project in which others log users in: django-allauth, and django-hijack for staff who act as a user."""

import os

SECRET_KEY = "for-the-tests-of-a-project"
INSTALLED_APPS = [
    "sessionpersist",
    "allauth",
    "allauth.account",
    "hijack",
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
    "hijack.middleware.HijackUserMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False
LOGIN_REDIRECT_URL = "/who/"
ROOT_URLCONF = "neighbours.urls"
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

SESSION_ENGINE = "sessionpersist.engine"
SESSIONPERSIST = {"MEMORY_DIR": os.environ["SMALL_MEMORY"], "ACTIVATION_SECONDS": 0}
