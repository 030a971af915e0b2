"""``{% load sessionpersist_times %}``: times as people say them, with the exact one and its zone on hover."""

from __future__ import annotations

from datetime import UTC, datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from sessionpersist.configuration.panels.words import ago, exactly, until

register = template.Library()


@register.simple_tag
def moment(at: datetime | None) -> SafeString:
    """Show a time as how long ago it was, or in how long it will be; nothing where there is none."""
    if at is None:
        return mark_safe("")
    aware = timezone.make_aware(at) if timezone.is_naive(at) else at
    seconds = (datetime.now(UTC) - aware).total_seconds()
    words = ago(seconds, at) if seconds >= 0 else until(-seconds)
    html = '<time class="sp-moment" datetime="{}" title="{}">{}</time>'
    return format_html(html, aware.isoformat("T", "seconds"), exactly(at), words)


@register.filter
def exact(at: datetime) -> str:
    """Show a time with its date and its zone."""
    return exactly(at)
