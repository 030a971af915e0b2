"""The configuration that staff edit, its history, the nodes, and the table of the JDBC store."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.core.management.color import no_style
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import connections, models, router, transaction
from django.db.models import Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Now
from django.dispatch import Signal
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from solo.models import SingletonModel

from sessionpersist import conf
from sessionpersist.initial import initial_fields, initial_policy, initial_policy_fields, initial_settings
from sessionpersist.session.policy import (
    CENTURY,
    DAY,
    END_OLDEST,
    FIELDS,
    HOUR,
    MINUTE,
    MOST_SESSIONS,
    REFUSE,
    UNLIMITED,
    Policy,
)
from sessionpersist.stores.passwords import EncryptedPasswordField
from sessionpersist.stores.settings import (
    CLUSTER,
    SECRET_NAMES,
    SENTINEL,
    STANDALONE,
    TYPES,
    X509,
    MemorySettings,
    StoreSettings,
    build,
    fields_of,
    from_fields,
)
from sessionpersist.stores.transactions import after_commit, is_committed

# Sent when a saved configuration is there for all to see. For this app alone: receivers.py has the handover listen.
configuration_saved = Signal()


class WhereWritten(models.Manager[Any]):
    """Reads where it writes, whatever a router says of reading: a replica that lags shows the past."""

    def get_queryset(self) -> models.QuerySet[Any]:
        found = super().get_queryset()
        return found if self._db else found.using(router.db_for_write(self.model))


# Where login sessions live, as the page and the history name it.
PERSISTENCE_TYPES = [(cls.type, cls.label) for cls in TYPES.values()]


class RedisMode(models.TextChoices):
    """How the REDIS store finds its servers."""

    STANDALONE = STANDALONE, _("One server")
    SENTINEL = SENTINEL, _("Sentinel")
    CLUSTER = CLUSTER, _("Cluster")


class AtLimit(models.TextChoices):
    """What becomes of a login beyond ``max_sessions``."""

    END_OLDEST = END_OLDEST, _("End the user's least recently used session")
    REFUSE = REFUSE, _("Refuse the login")


class MongoMechanism(models.TextChoices):
    """How the MONGODB store logs in; empty: as the server proposes."""

    SCRAM_SHA_256 = "SCRAM-SHA-256", _("SCRAM-SHA-256")
    SCRAM_SHA_1 = "SCRAM-SHA-1", _("SCRAM-SHA-1")
    X509 = X509, _("X.509 certificate")


LONGEST_PATH = 500  # characters: a row of MySQL has room for all of them


def late(field: type[models.Field[Any, Any]], label: Any, default: Any, **options: Any) -> Any:
    """Return a field that came with a later release: nodes of earlier ones still write rows without it."""
    return field(label, blank=True, default=default, db_default=default, **options)


def unset(label: Any, unit: int) -> Any:
    """Return a field of the policy for a time in units of so many milliseconds; empty: sessions are as Django's."""
    bounds = [MinValueValidator(1, AT_LEAST_ONE), MaxValueValidator(CENTURY // unit, AT_MOST_A_CENTURY)]
    return models.PositiveIntegerField(label, null=True, blank=True, validators=bounds)


AT_LEAST_ONE = _("Enter 1 or more, or leave this empty.")
NO_LIMIT = _("Enter -1 for no limit, or 1 or more, up to {most}.")
AT_MOST_A_CENTURY = _("Enter at most %(limit_value)s, which is a century.")


def check_limit(number: int) -> None:
    """Raise ValidationError for a number of sessions with which nobody could log in, or which means nothing."""
    if number != UNLIMITED and not 1 <= number <= MOST_SESSIONS:
        raise ValidationError(NO_LIMIT.format(most=MOST_SESSIONS), code="no_limit")


class LoginConfiguration(SingletonModel):
    """The one row that staff edit. Saving another target appends a Revision; nothing is probed here."""

    persistence_type = models.CharField(
        _("session persistence"),
        max_length=20,
        choices=PERSISTENCE_TYPES,
        default=MemorySettings.type,
        help_text=_("Where login sessions are stored."),
    )
    redis_host = models.CharField(_("host"), max_length=253, blank=True)
    redis_port = models.PositiveIntegerField(_("port"), default=6379)
    redis_username = models.CharField(_("user name"), max_length=255, blank=True)
    redis_password = EncryptedPasswordField(_("password"), blank=True, default="")
    redis_database = models.PositiveIntegerField(_("database"), default=0)
    redis_tls = models.BooleanField(_("use TLS"), default=False)
    redis_mode = late(models.CharField, _("servers"), RedisMode.STANDALONE, max_length=20, choices=RedisMode)
    redis_nodes = late(models.TextField, _("nodes"), "")
    redis_sentinel_name = late(models.CharField, _("name of the primary"), "", max_length=255)
    redis_sentinel_username = late(models.CharField, _("user name at the Sentinels"), "", max_length=255)
    redis_sentinel_password = late(EncryptedPasswordField, _("password at the Sentinels"), "")
    redis_wait_replicas = late(models.PositiveSmallIntegerField, _("replicas to wait for"), 0)
    redis_ca_file = late(models.CharField, _("certificate authority"), "", max_length=LONGEST_PATH)
    redis_client_certificate = late(models.CharField, _("client certificate"), "", max_length=LONGEST_PATH)
    redis_client_key = late(models.CharField, _("key of the client certificate"), "", max_length=LONGEST_PATH)
    jdbc_database = models.CharField(_("database"), max_length=255, blank=True)
    mongodb_database = models.CharField(_("database name"), max_length=63, blank=True)
    mongodb_host = models.CharField(_("host"), max_length=253, blank=True)
    mongodb_port = models.PositiveIntegerField(_("port"), default=27017)
    mongodb_username = models.CharField(_("user name"), max_length=255, blank=True)
    mongodb_password = EncryptedPasswordField(_("password"), blank=True, default="")
    mongodb_auth_source = models.CharField(_("authentication database"), max_length=63, blank=True)
    mongodb_tls = models.BooleanField(_("use TLS"), default=False)
    mongodb_nodes = late(models.TextField, _("further hosts"), "")
    mongodb_replica_set = late(models.CharField, _("replica set"), "", max_length=255)
    mongodb_srv = late(models.BooleanField, _("find the hosts by DNS (SRV)"), False)
    mongodb_mechanism = late(
        models.CharField, _("authentication mechanism"), "", max_length=32, choices=MongoMechanism
    )
    mongodb_alias = late(models.CharField, _("database of the project"), "", max_length=255)
    mongodb_ca_file = late(models.CharField, _("certificate authority"), "", max_length=LONGEST_PATH)
    mongodb_client_certificate = late(models.CharField, _("client certificate"), "", max_length=LONGEST_PATH)
    mongodb_client_key = late(
        models.CharField, _("key of the client certificate"), "", max_length=LONGEST_PATH
    )
    idle_minutes = unset(_("idle time-out (minutes)"), MINUTE)
    absolute_hours = unset(_("longest session (hours)"), HOUR)
    remember_days = unset(_("remember me (days)"), DAY)
    max_sessions = late(models.IntegerField, _("sessions per user"), UNLIMITED, validators=[check_limit])
    at_limit = late(models.CharField, _("beyond that"), AtLimit.END_OLDEST, max_length=20, choices=AtLimit)
    policy_since = models.DateTimeField(null=True, editable=False)
    edition = models.PositiveIntegerField(default=0, editable=False)
    saved_at = models.DateTimeField(null=True, editable=False)
    saved_by = models.CharField(max_length=255, blank=True, editable=False)

    class Meta:
        verbose_name = _("Login Configuration")
        verbose_name_plural = _("Login Configuration")
        permissions = [
            ("view_sessions", _("Can see who is signed in where")),
            ("end_sessions", _("Can end sessions of others")),
            ("end_all_sessions", _("Can end the sessions of everybody")),
        ]

    def __str__(self) -> str:
        return str(_("Login Configuration"))

    @classmethod
    def get_solo(cls) -> Self:
        """Read and return the row; until somebody has saved it, with what is in force. Reading never writes."""
        using = router.db_for_write(cls)
        row = cls.objects.using(using).filter(pk=cls.singleton_instance_id).first()
        if row is not None and row.says_something:
            return row
        revision = Revision.objects.using(using).order_by("-pk").first()
        store = initial_fields() if revision is None else fields_of(revision.store_settings())
        row = row or cls(pk=cls.singleton_instance_id)
        for name, value in (initial_policy_fields() | store).items():
            setattr(row, name, value)
        return row

    @classmethod
    def make_row(cls, using: str) -> None:
        """Make the row where there is none. Others may do so at the same moment: whoever is first makes it."""
        rows: models.QuerySet[Any] = cls.objects.using(using)
        rows.bulk_create([cls(pk=cls.singleton_instance_id)], ignore_conflicts=True)

    @property
    def says_something(self) -> bool:
        """Whether somebody has saved the row, or loaded it. Until 0.2.0 a migration made one that said In-Memory."""
        return bool(self.edition) or self.persistence_type != MemorySettings.type

    def overruled_by(self) -> StoreSettings | None:
        """Return the settings that the site goes by, where they are not those of this row: it was changed other than by
        saving it, such as by a fixture without the revision, or by SQL."""
        newest = Revision.objects.order_by("-pk").first()
        recorded = initial_settings() if newest is None else newest.store_settings()
        return None if recorded == self.store_settings() else recorded

    def store_settings(self) -> StoreSettings:
        """Return the settings of the chosen store."""
        return from_fields(self.__dict__)

    def policy(self) -> Policy:
        """Return what this row decides about sessions, wherever they are."""
        return Policy.of(self.__dict__)

    def policy_fields(self) -> dict[str, Any]:
        """Return the fields that make the policy."""
        return {name: getattr(self, name) for name in FIELDS}

    def save(
        self, *args: Any, saved_by: str = "", place: str = "", initial_place: str = "", **kwargs: Any
    ) -> None:
        """Save, and have every process move to the chosen store.

        ``saved_by`` is a user name, for the history. ``place`` is the id of the place that was chosen, where somebody
        has asked for it (see ``Probed.place``), and ``initial_place`` that of the store before anybody had saved one.
        """
        self.edition = (self.edition or 0) + 1
        self.saved_at, self.saved_by = timezone.now(), saved_by
        using = kwargs.get("using") or router.db_for_write(type(self))
        with transaction.atomic(using=using):
            self.make_row(using)
            before = self._note_policy(using)
            super().save(*args, **kwargs)
            revisions = Revision.objects.using(using)
            revisions.begin(initial_place)
            revisions.note_life(before)
            revisions.record(self.store_settings(), saved_by, place)
            revisions.note_life(self.policy())
        after_commit(partial(configuration_saved.send, type(self)), using)

    def _note_policy(self, using: str) -> Policy:
        """Note since when sessions go by this policy and what was changed; return the one before: that of INITIAL at
        first."""
        row = type(self).objects.using(using).get(pk=self.singleton_instance_id)
        before = row.policy() if row.says_something else initial_policy()
        self._note_changes(row if row.says_something else type(self)(**initial_policy_fields()), using)
        same = replace(before, since=0) == replace(self.policy(), since=0)
        same = same and (
            row.says_something or not before.has_times
        )  # nobody knows since when INITIAL has said so
        self.policy_since = row.policy_since if same else self.saved_at
        return before

    def _note_changes(self, row: LoginConfiguration, using: str) -> None:
        """Note for the history what differs from the policy of that row."""
        before, after = row.policy_fields(), self.policy_fields()
        if changed := [name for name in FIELDS if before[name] != after[name]]:
            before, after = ({name: each[name] for name in changed} for each in (before, after))
            PolicyChange.objects.using(using).create(saved_by=self.saved_by, before=before, after=after)


class PolicyChange(models.Model):
    """One change of time-outs and limits, for the history: the fields that differ, with their values."""

    saved_by = models.CharField(_("saved by"), max_length=255, blank=True)
    saved_at = models.DateTimeField(_("saved at"), db_default=Now())
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)

    objects = WhereWritten()

    class Meta:
        verbose_name = _("change of time-outs and limits")
        verbose_name_plural = _("changes of time-outs and limits")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.pk}: {', '.join(self.after)}"


MOST_PENDING = 10_000  # logouts that a process knows of while a store is down

WHOLE_RECORDS, EVERYBODY = 2, 3  # what a release reports that it knows, see Node.sealing
LIVE = timedelta(hours=1)  # who was heard from in this time is taken to be there
LONGEST_LEASE = timedelta(hours=1)

# A request that began before a store was found empty may still be carrying a session there, and a logout in that time
# must still leave its mark. No request lasts longer: gunicorn kills a worker that has not answered for 30 seconds.
DRAINED_GRACE = timedelta(seconds=30)


@cache
def going_on(alias: str) -> RevisionQuerySet:
    """Return what ``in_force`` asks of that database, for every process every few seconds: to put the query together
    takes longer than to carry it out. It is copied, never asked itself."""
    revisions = Revision.objects.using(alias)
    there = Q(drained_at=None) | Q(drained_how="drained", drained_at__gt=Now() - DRAINED_GRACE)
    earlier = Node.objects.using(alias).of_earlier_release()
    everybody_out = revisions.filter(ends_earlier=True, activates_at__lte=Now()).order_by("-pk")
    ending = Subquery(everybody_out.values("pk")[:1])
    found = {"database_now": Now(), "mixed": Exists(earlier), "floor": ending}
    found["logouts"] = Exists(PendingLogout.objects.using(alias).waiting())
    return revisions.filter(there, pk__gte=Coalesce(ending, 0)).annotate(**found).order_by("pk")


class RevisionQuerySet(models.QuerySet["Revision"]):
    """The saved choices, oldest first by number."""

    def in_force(self) -> list[Any]:
        """Return the revisions that are not drained, and not of before everybody was logged out, oldest first.

        They come with the database's time as ``database_now``, and as ``mixed`` whether nodes of 0.2.0 serve the site,
        too. ``floor`` is the number of the revision with which everybody was last logged out, and ``logouts`` says
        whether there are some that a store has not been told of.

        One that was drained counts a while longer (DRAINED_GRACE).

        A revision that was committed but has no activation time yet gets one: its saver sets it after the commit, and
        a saver that died in between must not leave it pending for ever.
        """
        query = going_on(self.db)
        rows = list(query.all())  # a queryset keeps what it has found
        if any(row.activates_at is None for row in rows) and is_committed(self.db):
            self.activate()
            rows = list(query.all())
        return [row for row in rows if row.activates_at is not None]

    def record(self, settings: StoreSettings, saved_by: str, place: str = "") -> None:
        """Append a revision for another place; for the same place, only update how it is reached. See save()."""
        values = columns_of(settings) | ({"place": place} if place else {})
        newest = self.latest("pk")
        if newest.is_same_place(settings, place):
            self.filter(pk=newest.pk).update(**values)
            return
        revision = self.create(pk=number_after(newest.pk), saved_by=saved_by, **values)
        self._count_on()
        after_commit(self.filter(pk=revision.pk).activate, self.db)

    def note_life(self, policy: Policy) -> None:
        """Note how long sessions may live by a policy, where they are saved under it: in the store in force, and in
        those to come. One that was left before has none of them."""
        life = policy.longest_life // 1000
        in_force = self.filter(activates_at__lte=Now()).order_by("-pk").first()
        if life and in_force:
            shorter = Q(longest_life=None) | Q(longest_life__lt=life)
            self.filter(shorter, pk__gte=in_force.pk).update(longest_life=life)

    def end_earlier(self, saved_by: str) -> int:
        """Append a revision of the same store with which everybody is logged out, and return its number."""
        self.begin()
        newest = self.latest("pk")
        values = columns_of(newest.store_settings())
        values |= {"place": newest.place, "longest_life": newest.longest_life}
        revision = self.create(pk=number_after(newest.pk), saved_by=saved_by, ends_earlier=True, **values)
        self._count_on()
        after_commit(self.filter(pk=revision.pk).activate, self.db)
        return revision.pk

    def begin(self, place: str = "") -> None:
        """Note the store of before anybody has saved one, where there is no revision: sessions are there and drain from
        there, whatever the settings say later. Others may do so at the same moment."""
        if self.exists():
            return
        initial = Revision(pk=number_after(0), initial=True, place=place, **columns_of(initial_settings()))
        initial.activates_at = Now()
        self.bulk_create([initial], ignore_conflicts=True)
        self._count_on()

    def _count_on(self) -> None:
        """Have the database number what a node of 0.2.0 saves after what this release has numbered itself."""
        connection = connections[self.db]
        with connection.cursor() as cursor:
            for statement in connection.ops.sequence_reset_sql(no_style(), [Revision]):
                cursor.execute(statement)

    def activate(self) -> None:
        """Give those that have none their time of activation, on the database's clock."""
        delay = timedelta(seconds=conf.activation_seconds())
        self.filter(activates_at=None).update(activates_at=Now() + delay)

    def drained(self, number: int, how: str) -> int:
        """Note that the store of a revision holds no session of this site any more, and return how many revisions that
        ends: earlier ones of the same store end with it. ``how`` is "drained" or "abandoned".

        It ends none where that turns out to be the store in force under another name, whose sessions go on.
        """
        ended = self.get(pk=number)
        in_force = self.filter(activates_at__lte=Now()).order_by("-pk").first()
        if in_force and in_force.pk != number and ended.place and in_force.place == ended.place:
            return 0
        earlier = [
            row.pk
            for row in self.filter(drained_at=None, pk__lte=number)
            if row.is_same_place(ended.store_settings(), ended.place)
        ]
        return self.filter(pk__in=earlier).update(drained_at=Now(), drained_how=how)


class Revision(models.Model):
    """One saved choice of store. The newest active one is current; one whose time has not come is pending."""

    persistence_type = models.CharField(_("session persistence"), max_length=20, choices=PERSISTENCE_TYPES)
    settings = models.JSONField(_("settings"), default=dict)
    password = EncryptedPasswordField(blank=True, default="", editable=False)
    sentinel_password = late(EncryptedPasswordField, _("password at the Sentinels"), "", editable=False)
    saved_by = models.CharField(_("saved by"), max_length=255, blank=True)
    saved_at = models.DateTimeField(_("saved at"), db_default=Now())
    activates_at = models.DateTimeField(_("activates at"), null=True, editable=False)
    drained_at = models.DateTimeField(_("drained at"), null=True, editable=False)
    drained_how = models.CharField(max_length=20, blank=True, editable=False)
    # The most sessions that were counted in its store since it is draining: what a progress bar begins with.
    most_left = models.PositiveIntegerField(null=True, editable=False)
    # The id of the place that its store is, see Probed.place(); empty where nobody could ask yet, and for In-Memory.
    place = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    # The longest life in seconds that the policy gave to sessions while it was in force; None: none but Django's.
    longest_life = models.PositiveBigIntegerField(null=True, editable=False)
    # Everybody was logged out with it: a session that was saved under an earlier one is none any more.
    ends_earlier = models.BooleanField(default=False, db_default=False, editable=False)
    # How many sessions a second are moved out of its store without anybody asking; None: as DRAIN_RATE says, 0: paused.
    drain_rate = models.PositiveIntegerField(null=True, editable=False)
    # What was in force before anybody had saved anything: its sessions carry no number of a revision.
    initial = models.BooleanField(default=False, db_default=False, editable=False)

    objects = WhereWritten.from_queryset(RevisionQuerySet)()

    class Meta:
        verbose_name = _("revision")
        verbose_name_plural = _("revisions")
        indexes = [models.Index(fields=["drained_at"], name="sessionpersist_rev_drained")]

    def __str__(self) -> str:
        return f"{self.pk}: {self.store_settings().describe()}"

    def store_settings(self) -> StoreSettings:
        """Return the settings of the store it chose."""
        return build(
            self.persistence_type, self.settings | {name: getattr(self, name) for name in SECRET_NAMES}
        )

    def is_same_place(self, settings: StoreSettings, place: str) -> bool:
        """Whether its store is the one of these settings, or has this id of a place (``""``: nobody knows)."""
        return self.store_settings().target == settings.target or bool(place and self.place == place)


def number_after(newest: int) -> int:
    """Return the number of a new revision: the time since 1970 in steps of 512 seconds, or the one after the newest.

    Numbers must go up even where the table was emptied, or came back from an old backup: sessions carry the number that
    was in force as they were saved, and one from the future would be taken for proof of a later switch. That holds
    unless somebody switches more than once every 512 seconds for long. A version has room for them until 2106.
    """
    return max(newest + 1, int(time.time() // 512))


def columns_of(settings: StoreSettings) -> dict[str, Any]:
    """Return the columns of a revision that chooses this store."""
    secrets = dict.fromkeys(SECRET_NAMES, "") | settings.secrets()
    return {"persistence_type": settings.type, "settings": settings.public(), **secrets}


class NodeQuerySet(models.QuerySet["Node"]):
    """The processes of the site, as they last reported themselves."""

    def of_earlier_release(self, knowing: int = WHOLE_RECORDS) -> Self:
        """Those of a release that knows less, for as long as they may come back: quiet is not gone. A node on which one
        that does has reported itself since was upgraded, and has replaced its processes within an hour."""
        upgraded = Node.objects.using(self.db).filter(name=OuterRef("name"), sealing__gte=knowing)
        there = Q(seen_at__gte=Now() - LIVE) | ~Exists(upgraded)
        return self.filter(there, sealing__lt=knowing)

    def note_drained(self, name: str, number: int) -> None:
        """Note that this node's memory holds no session of that revision any more."""
        self.filter(name=name, drained__lt=number).update(drained=number)


class Node(models.Model):
    """One process of a node (a machine or container), as it last reported itself. See ``handover/nodes.py``."""

    name = models.CharField(_("node"), max_length=255)
    process = models.PositiveIntegerField(_("process"))
    revision = models.PositiveIntegerField(_("revision"))
    seen_at = models.DateTimeField(_("last sign of life"), db_default=Now())
    drained = models.PositiveIntegerField(default=0, editable=False)
    # The places that this process means, see Probed.place(): that of the store in force, and that of its In-Memory
    # store while sessions may be there.
    place = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    memory = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
    # The sessions that are left in the memory of the node while it is draining, as last counted.
    left = models.PositiveIntegerField(null=True, editable=False)
    # What it knows: 3, that everybody was logged out (Revision.ends_earlier); 2, as 0.3.0, records that are whole (see
    # sealing.py); 1, neither, as 0.2.0, which writes no such column.
    sealing = models.PositiveSmallIntegerField(default=EVERYBODY, db_default=1, editable=False)

    objects = WhereWritten.from_queryset(NodeQuerySet)()

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        constraints = [
            models.UniqueConstraint(fields=["name", "process"], name="sessionpersist_node_process")
        ]

    def __str__(self) -> str:
        return f"{self.name}, process {self.process}"


class PendingLogoutQuerySet(models.QuerySet["PendingLogout"]):
    """Logouts that were written down."""

    def waiting(self) -> Self:
        """Those whose session would still be there."""
        return self.filter(ends_at__gt=Now())

    def known(self) -> list[str]:
        """Return the stored keys of those that a process has to know. Of very many the oldest: what is known stays so,
        whoever floods the table."""
        return list(self.waiting().order_by("noted_at").values_list("pk", flat=True)[:MOST_PENDING])


class PendingLogout(models.Model):
    """A logout that the store did not answer: the session counts as ended, and is ended there once the store is back.

    It is known by the hash of its key, as in a store. ``ends_at``: the session would be over then anyhow.
    """

    stored_key = models.CharField(primary_key=True, max_length=64)
    noted_at = models.DateTimeField(db_default=Now())
    ends_at = models.DateTimeField()

    objects = WhereWritten.from_queryset(PendingLogoutQuerySet)()

    class Meta:
        verbose_name = _("pending logout")
        verbose_name_plural = _("pending logouts")

    def __str__(self) -> str:
        return f"a logout of {self.noted_at}"  # never the key


class LeaseQuerySet(models.QuerySet["Lease"]):
    """The leases, by the clock of the database."""

    def in_force(self) -> Self:
        """Those that somebody holds."""
        return self.filter(expires_at__gt=Now(), expires_at__lte=Now() + LONGEST_LEASE)

    def free(self) -> Self:
        """Those that anybody may take. One that would last too long is of a clock that was wrong."""
        return self.filter(Q(expires_at__lte=Now()) | Q(expires_at__gt=Now() + LONGEST_LEASE))


class Lease(models.Model):
    """Which process does the upkeep of a scope, and for how long unless it renews this. See ``upkeep/lease.py``."""

    scope = models.CharField(primary_key=True, max_length=300)
    token = models.CharField(max_length=32)  # of whoever holds it; another each time
    node = models.CharField(max_length=255)
    process = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    # What its holder is doing: the revision whose sessions it moves (0: none), and how many a second it moved lately.
    moves = models.PositiveIntegerField(default=0)
    rate = models.FloatField(default=0.0)
    # When expired sessions were last cleared.
    cleared_at = models.DateTimeField(null=True)

    objects = WhereWritten.from_queryset(LeaseQuerySet)()

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")

    def __str__(self) -> str:
        return f"the upkeep of {self.scope}"


class StoredSession(models.Model):
    """The table of the JDBC store. Its statements are in ``stores/sql.py``; this declares the table to Django.

    Times are Unix times in milliseconds; a version of 0 marks a session that was logged out during a handover.
    """

    stored_key = models.CharField(primary_key=True, max_length=64)
    payload = models.BinaryField()
    version = models.BigIntegerField()
    created_at = models.BigIntegerField()
    expires_at = models.BigIntegerField()
    user_id = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = _("stored session")
        verbose_name_plural = _("stored sessions")
        indexes = [models.Index(fields=["expires_at"], name="sessionpersist_expires_at")]

    def __str__(self) -> str:
        return f"session of user {self.user_id or '-'}"  # never the key: a hash of a session key is nobody's business


class Sessions(StoredSession):
    """The page “Sessions” of the admin. It has no table of its own: sessions are wherever the configuration says."""

    class Meta:
        proxy = True
        verbose_name = _("session")
        verbose_name_plural = _("sessions")
        default_permissions = ()
