"""The site with the pages of ``urls``: the same for its nodes and its commands, which share a memory."""

from project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.load.urls"
