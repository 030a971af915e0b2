"""The row that staff edit, and the revision that says In-Memory, so that reading the configuration never writes."""

from typing import Any

from django.db import migrations
from django.db.models.functions import Now


def create_defaults(apps: Any, schema_editor: Any) -> None:
    using = schema_editor.connection.alias
    apps.get_model("sessionpersist", "LoginConfiguration").objects.using(using).get_or_create(pk=1)
    revisions = apps.get_model("sessionpersist", "Revision").objects.using(using)
    if not revisions.exists():
        revisions.create(persistence_type="IN_MEMORY", activates_at=Now())


class Migration(migrations.Migration):
    dependencies = [("sessionpersist", "0001_initial")]

    operations = [migrations.RunPython(create_defaults, migrations.RunPython.noop)]
