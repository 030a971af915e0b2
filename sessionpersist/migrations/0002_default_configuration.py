"""Made the first rows until 0.2.0, where a flush took them away. Nothing depends on rows any more: see ``initial``."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("sessionpersist", "0001_initial")]

    operations = []
