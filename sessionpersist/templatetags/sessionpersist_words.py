"""``{% load sessionpersist_words %}``: what stores say, in the language of the page."""

from __future__ import annotations

from django import template

from sessionpersist.configuration.store_sentences import in_language

register = template.Library()
register.filter("in_language", in_language)
