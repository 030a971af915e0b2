"""Room for the ids of places. With defaults of the database: nodes of 0.2.0 still write rows during an upgrade."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("sessionpersist", "0003_nodes"),
    ]

    operations = [
        migrations.AddField(
            model_name="node",
            name="left",
            field=models.PositiveIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="node",
            name="memory",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=32),
        ),
        migrations.AddField(
            model_name="node",
            name="place",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=32),
        ),
        migrations.AddField(
            model_name="node",
            name="sealing",
            field=models.PositiveSmallIntegerField(db_default=1, default=2, editable=False),
        ),
        migrations.AddField(
            model_name="revision",
            name="initial",
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddField(
            model_name="revision",
            name="place",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=32),
        ),
    ]
