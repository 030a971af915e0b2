"""REDIS by Sentinel or as a Cluster, MONGODB on several hosts, certificates. With defaults of the database: nodes of
earlier releases still write rows during an upgrade."""

from django.db import migrations, models

import sessionpersist.stores.passwords


class Migration(migrations.Migration):
    dependencies = [
        ("sessionpersist", "0004_places"),
    ]

    operations = [
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_alias",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=255, verbose_name="database of the project"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_ca_file",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=500, verbose_name="certificate authority"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_client_certificate",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=500, verbose_name="client certificate"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_client_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=500,
                verbose_name="key of the client certificate",
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_mechanism",
            field=models.CharField(
                blank=True,
                choices=[
                    ("SCRAM-SHA-256", "SCRAM-SHA-256"),
                    ("SCRAM-SHA-1", "SCRAM-SHA-1"),
                    ("MONGODB-X509", "X.509 certificate"),
                ],
                db_default="",
                default="",
                max_length=32,
                verbose_name="authentication mechanism",
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_nodes",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="further hosts"),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_replica_set",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=255, verbose_name="replica set"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="mongodb_srv",
            field=models.BooleanField(
                blank=True, db_default=False, default=False, verbose_name="find the hosts by DNS (SRV)"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_ca_file",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=500, verbose_name="certificate authority"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_client_certificate",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=500, verbose_name="client certificate"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_client_key",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=500,
                verbose_name="key of the client certificate",
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_mode",
            field=models.CharField(
                blank=True,
                choices=[("STANDALONE", "One server"), ("SENTINEL", "Sentinel"), ("CLUSTER", "Cluster")],
                db_default="STANDALONE",
                default="STANDALONE",
                max_length=20,
                verbose_name="servers",
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_nodes",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="nodes"),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_sentinel_name",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=255, verbose_name="name of the primary"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_sentinel_password",
            field=sessionpersist.stores.passwords.EncryptedPasswordField(
                blank=True, db_default="", default="", verbose_name="password at the Sentinels"
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_sentinel_username",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                max_length=255,
                verbose_name="user name at the Sentinels",
            ),
        ),
        migrations.AddField(
            model_name="loginconfiguration",
            name="redis_wait_replicas",
            field=models.PositiveSmallIntegerField(
                blank=True, db_default=0, default=0, verbose_name="replicas to wait for"
            ),
        ),
        migrations.AddField(
            model_name="revision",
            name="sentinel_password",
            field=sessionpersist.stores.passwords.EncryptedPasswordField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                verbose_name="password at the Sentinels",
            ),
        ),
    ]
