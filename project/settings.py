"""The settings of the site. Everything that differs between two installations comes from the environment.

``.env.example`` lists the variables. A file ``.env`` beside ``manage.py`` may hold them; the environment wins
over it. ``ENV_FILE`` names another file, or none if it is empty: tests and checks must not depend on what a
developer keeps there.
"""

import os
from pathlib import Path
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured

from project.databases import databases
from project.environment import Environment, read_file

BASE_DIR = Path(__file__).resolve().parent.parent

if env_file := os.environ.get("ENV_FILE", ".env"):
    read_file(BASE_DIR / env_file)
env = Environment()

DEBUG = env.flag("DEBUG")


# --- Security -----------------------------------------------------------------------------------------------

SECRET_KEY = env.text("SECRET_KEY")
SECRET_KEY_FALLBACKS = [key for key in env.text("SECRET_KEY_FALLBACKS").split(",") if key]

if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "Set the environment variable SECRET_KEY to a long random text (or DEBUG=true for development)."
        )
    SECRET_KEY = "django-insecure-for-development-only"  # noqa: S105 - never used without DEBUG

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

# Without DEBUG the site is for HTTPS only. Each of these can be turned off where something else sees to it.
SECURE_SSL_REDIRECT = env.flag("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^health/"]  # load balancers ask over plain HTTP
SESSION_COOKIE_SECURE = env.flag("SESSION_COOKIE_SECURE", default=not DEBUG)
CSRF_COOKIE_SECURE = env.flag("CSRF_COOKIE_SECURE", default=not DEBUG)
# A browser takes a cookie named __Host-… only from this host, over HTTPS and for all paths: no other host of the domain
# can plant one. Without Secure it would take none at all.
SESSION_COOKIE_NAME = "__Host-sessionid" if SESSION_COOKIE_SECURE else "sessionid"
CSRF_COOKIE_NAME = "__Host-csrftoken" if CSRF_COOKIE_SECURE else "csrftoken"
EARLIER_SESSION_COOKIE = env.text("EARLIER_SESSION_COOKIE")
# An hour is long enough to protect a login and short enough to take back. Raise it once HTTPS is to stay.
SECURE_HSTS_SECONDS = env.whole("SECURE_HSTS_SECONDS", default=0 if DEBUG else 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.flag("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=not DEBUG)
SECURE_HSTS_PRELOAD = env.flag("SECURE_HSTS_PRELOAD", default=not DEBUG)
# Only behind a proxy that sets this header itself: from anybody else it is a claim.
if env.flag("TRUST_X_FORWARDED_PROTO"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Nothing is inline and nothing comes from elsewhere, in the admin neither.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}


# --- Application --------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "sessionpersist",
    "project",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",  # for the command `clearsessions`; its table stays empty
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    f"{'django.middleware.csp' if django.VERSION >= (6, 0) else 'project.middleware'}.ContentSecurityPolicyMiddleware",
    "project.middleware.ClearSiteDataMiddleware",
    "project.middleware.EarlierSessionCookieMiddleware",
    "sessionpersist.middleware.SessionMiddleware",  # in the place of Django's
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]


# --- Sessions and logging in --------------------------------------------------------------------------------

SESSION_ENGINE = "sessionpersist.engine"

# Only what the environment gives: the app has a default for each.
texts = ("NODE_NAME", "MEMORY_DIR", "KEY_PREFIX", "TLS_CA_FILE")
numbers = (
    *("REFRESH_SECONDS", "ACTIVATION_SECONDS", "TIMEOUT_SECONDS", "REAUTHENTICATE_SECONDS"),
    *("DRAIN_RATE", "CLEAR_SECONDS"),
)
lists = ("SECRETS_ALLOWED", "ALLOWED_STORE_HOSTS")
SESSIONPERSIST: dict[str, Any] = {
    **{name: env.text(name) for name in texts if env.text(name)},
    **{name: env.number(name) for name in numbers if env.text(name)},
    **{name: env.words(name) for name in lists if env.text(name)},
}

# The addresses of single nodes, which the home page links to. Behind a balancer nobody needs them.
NODE_URLS = env.words("NODE_URLS")

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]


# --- Data, texts and files ----------------------------------------------------------------------------------

DATABASES = databases(os.environ, BASE_DIR)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "en"
# Those that the app speaks. Its pages, and the admin's, are in the one that the browser asks for.
LANGUAGES = [
    ("en", "English"),
    ("ar", "العربية"),
    ("de", "Deutsch"),
    ("es", "Español"),
    ("fr", "Français"),
    ("ja", "日本語"),
    ("pt-br", "Português (Brasil)"),
    ("zh-hans", "简体中文"),
]
LOCALE_PATHS = [BASE_DIR / "templates" / "locale"]  # of the pages of this site
TIME_ZONE = env.text("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = env.text("STATIC_ROOT", default=str(BASE_DIR / "static_root"))  # `collectstatic` writes it


# --- Logging ------------------------------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.level("LOG_LEVEL", default="INFO")},
    # Django's own handlers write with DEBUG only, or by mail. Without them its messages come to the console
    # with all others, those of django.security too.
    "loggers": {"django": {"level": "INFO"}},
}
