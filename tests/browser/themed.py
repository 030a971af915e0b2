"""The site with another theme of the admin, which the environment names. Themes have scripts and styles inline."""

import os

from project.settings import *  # noqa: F403
from project.settings import INSTALLED_APPS as OURS
from project.settings import MIDDLEWARE as OF_THE_SITE
from project.settings import TEMPLATES as TEMPLATES_OF_THE_SITE

THEMES = {
    "django": [],
    "admin-interface": ["admin_interface", "colorfield"],
    "unfold": ["unfold"],
    "jazzmin": ["jazzmin"],
    "grappelli": ["grappelli"],
}

INSTALLED_APPS = [*THEMES[os.environ["ADMIN_THEME"]], *OURS]
MIDDLEWARE = [each for each in OF_THE_SITE if "ContentSecurityPolicy" not in each]
TEMPLATES = [{**TEMPLATES_OF_THE_SITE[0], "DIRS": []}]  # the themes' own frames
X_FRAME_OPTIONS = "SAMEORIGIN"  # admin-interface opens its forms in frames
ROOT_URLCONF = "tests.load.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}
