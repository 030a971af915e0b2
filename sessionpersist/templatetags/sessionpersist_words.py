"""``{% load sessionpersist_words %}``: what stores say, in the language of the page."""

from __future__ import annotations

from django import template

from sessionpersist.configuration.store_sentences import translated

register = template.Library()


@register.filter
def in_language(text: object) -> str:
    """Show a sentence of a store in the active language."""
    return translated(str(text))
