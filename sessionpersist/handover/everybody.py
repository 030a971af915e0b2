"""Logging everybody out, on every node and in every store: a revision of the same store that forgets what is older.

It activates as a switch does, so all processes go by it at one moment. It asks no store anything, so it costs none
anything and holds where one is down: each record carries the number of the revision under which it was written, and one
with a lesser number is no session any more. What is left of them expires.

While nodes of an earlier release serve beside this one, those know nothing of it, and what they save lives on: do it
once more when they are gone.
"""

from __future__ import annotations

from functools import partial

from django.db import router, transaction
from django.db.models import F

from sessionpersist import audit
from sessionpersist.handover import routing, snapshot
from sessionpersist.models import LoginConfiguration, Revision, configuration_saved
from sessionpersist.stores.transactions import after_commit


def end_everybody(ended_by: str = "") -> None:
    """Log everybody out, whoever asks for it too. ``ended_by`` is a user name, for the history and the audit log.

    It takes effect ACTIVATION_SECONDS after the transaction that it is called in commits. Asks no store; raises what
    the database of the configuration raises. In a test's ``override_login_configuration`` it takes effect at once.
    """
    if not snapshot.end_override():
        using = router.db_for_write(Revision)
        with transaction.atomic(using=using):
            _wait_for_others(using)
            Revision.objects.using(using).end_earlier(ended_by)
        after_commit(partial(configuration_saved.send, LoginConfiguration), using)
    audit.changed("everybody logged out", ended_by, routing.current_settings().describe())


def _wait_for_others(using: str) -> None:
    """Have one at a time append a revision: who saves the configuration writes this row, too."""
    LoginConfiguration.make_row(using)
    LoginConfiguration.objects.using(using).update(edition=F("edition"))
