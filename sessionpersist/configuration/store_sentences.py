"""What stores say, in the language of whoever reads the page.

Stores speak English: what they say goes to logs and reports, too, and is put together where an error happens, with
names and servers' own words in it. So each sentence is known here with its gaps, is found again by its words, and shown
in the active language. What is not known stays as it is, such as a server's own words.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

from sessionpersist.stores.settings import StoreSettings

DEPTH = 4  # sentences in sentences, such as the last failure of a store, which names it

STEPS = (
    _("Open"),
    _("Close"),
    _("Clean up"),
    _("Warning"),
    _("Resolve host name"),
    _("Connect"),
    _("TLS"),
    _("Authenticate"),
    _("Works"),
    _("Permission to write"),
    _("Write"),
    _("Read"),
    _("Compare and set"),
    _("Delete"),
    _("Expiry"),
    _("Log out"),
    _("Many at once"),
    _("List"),
    _("Delete many"),
    _("Kind of server"),
    _("Scripts"),
    _("Certificates"),
    _("Nodes"),
    _("Cluster"),
    _("Sentinels"),
    _("Primary"),
    _("Read the certificates"),
    _("Look up the hosts"),
    _("See the members"),
    _("Node {address}"),
    _("Server {address}"),
)

PLACES = (
    _("REDIS at {address}, database {database}"),
    _("REDIS Cluster at {addresses}"),
    _("REDIS at {address}"),
    _("JDBC, database “{database}”"),
    _("MONGODB at {addresses}, database “{database}”"),
    _("MONGODB, database “{database}” of the project"),
    _("MONGODB at {addresses}"),
    _("The MONGODB database “{database}” of the project"),
    _("The table “{table}”"),
    _("The index of the table “{table}”"),
    _("{store}, server {address},"),
)

PARTS = (
    _("no replica"),
    _("1 replica"),
    _("{number} replicas"),
    _("1 standby"),
    _("{number} standbys"),
    _("primary, {replicas}"),
    _("replica, which has lost its primary"),
    _("replica, not reached: {reason}"),
    _("replica"),
    _("{number} of {all} answer"),
    _("{number} primaries, {replicas}"),
    _("password"),
    _("user name"),
    _("sentinel password"),
    _("is not installed on this node"),
    _("can't be loaded on this node ({reason})"),
    _("it was opened with query_only"),
    _("it is a standby server"),
    _("default_transaction_read_only is on"),
    _("read_only is set on the server"),
    _("it was opened read-only, or its file may not be written"),
    _("synchronous_standby_names is empty"),
    _("synchronous_commit is {value}"),
)

SETTINGS = (
    _("The saved {what} can't be decrypted: the site's SECRET_KEY has changed. Enter the {again} again."),
    _("The environment variable {name} is not set on this node."),
    _("The file {path} can't be read on this node, or holds no {what}."),
    _("There is no session store of the type “{type}”."),
    _(
        "{store} needs the package {package}, which {trouble}. Install it with: pip install 'sessionpersist[{extra}]'"
    ),
    _("Enter at least one server, as host:port."),
    _("Enter at most {number} servers: the others are found by themselves."),
    _("Enter each server once."),
    _("No host is entered."),
    _("Line {number} has no port: enter host:port."),
    _("Line {number} is not the name or the address of a host, a colon and a port."),
    _("The port of line {number} is not a whole number from 1 to 65535."),
    _("There is no port {port}."),
    _("{store} needs the name or the address of a host, without anything else."),
    _("The settings of this site do not allow a session store at this host (ALLOWED_STORE_HOSTS)."),
    _("The provider of CREDENTIALS gave no user name and password ({reason})."),
    _("SESSIONPERSIST['CREDENTIALS'] names {path}, which can't be used on this node."),
    _("There is no certificate in this file that can be read (PEM)."),
    _("The key in this file is none, is protected by a password, or is not that of the client certificate."),
    _("This file has no key of the certificate: enter the file of the key, or put both into this one."),
    _("This key needs a client certificate beside it."),
    _("Enter the whole path of the file, from / on."),
    _("This node has no such file, or may not look into its folder."),
    _("This is no file of a certificate or a key."),
    _("The site may not read this file."),
    _("Others may read this key: give its file the mode 600 (chmod 600)."),
    _("A certificate is of use with TLS only: turn TLS on."),
    _("Certificates are of use with TLS only: turn it on."),
)

ANY_STORE = (
    _("Under this key lies something that is not a session."),
    _(
        "The session takes {bytes} bytes; a store keeps at most {most}. Keep large data elsewhere and a reference to "
        "it in the session."
    ),
    _("{store} has failed repeatedly and is being given a moment. The last failure: {reason}"),
    _("The server answered in a way that is not understood ({kind}); the log says more."),
    _("The store could not be looked at more closely. {reason}"),
    _("The host name “{host}” does not resolve."),
    _("The name server did not answer in time for “{host}”."),
    _(
        "{server} was not asked: all {number} connections that this process may have are in use. If the server is "
        "healthy, start more processes."
    ),
    _("Nothing listens on port {port} of {host}: the connection was refused."),
    _("{host} did not answer on port {port} in time."),
    _("No connection to {host}, port {port}."),
    _("The server on port {port} of {host} wants TLS."),
    _("The store deleted a record that was not there."),
    _("The store refused a new record."),
    _("The store wrote over a record."),
    _("The store gave back something else than what was written."),
    _("The store refused an update."),
    _("The store let an outdated update pass."),
    _("The store let an outdated update pass, or none."),
    _("The store updated a record that was not there."),
    _("The store lost an update."),
    _("The store deleted another version of the record."),
    _("The store could not delete the record."),
    _("The store could not move a record to another key."),
    _("The store still answers with a deleted record."),
    _("The store answers with an expired record."),
    _("The store refused a record in the place of an expired one."),
    _("The store could not prolong a record."),
    _("The store did not prolong a record."),
    _("The store prolonged a record that was not there."),
    _("The store does not keep that a session was logged out."),
    _("The store wrote over a session that was logged out."),
    _("The store refused several new records."),
    _("The store could not list its records."),
    _("The store could not count its records."),
)

HANDOVER = (
    _("A session is compressed by Zstandard, which this node lacks: install sessionpersist[fast]."),
    _("A session was being moved by others again and again."),
    _("The login configuration could not be read for too long to be sure of the store."),
    _("The login configuration could not be read. Has “migrate” been run?"),
    _("A logout could be noted neither in the store nor in the site's database."),
    _("This process can't start another thread right now."),
    _("The list of a user's sessions was being changed {number} times in a row."),
    _("The sessions of the engine used before could not be {done}."),
    _("SESSIONPERSIST['INITIAL'] can't be used. {problem}"),
)

MEMORY = (
    _("The user of the site may not write to {folder}."),
    _("The In-Memory store in {folder} is full: there is no room left."),
    _("The In-Memory store in {folder} failed: {reason}."),
    _("The In-Memory store in {folder} is locked by another process, for {seconds} seconds now."),
    _(
        "The In-Memory store in {folder} is in use by a process of another container with the number of this one, so "
        "the two can't tell each other's locks. Set SESSIONPERSIST['MEMORY_DIR'] to a folder of this container alone."
    ),
    _(
        "The folder {folder} must belong to the user of the site, with the mode 0700. Remove it; or, where another "
        "user of this machine has made it, set SESSIONPERSIST['MEMORY_DIR'] to a folder that only the user of the site "
        "may write to."
    ),
    _("What was read is not a record."),
)

DATABASE = (
    _("The project has no database “{database}” in DATABASES."),
    _(
        "Sessions can't be kept in {kind} (the database “{database}”), but in PostgreSQL, MySQL, MariaDB or SQLite."
    ),
    _("The driver of the database “{database}” can't be loaded on this node. {advice}"),
    _("Install {package}: pip install '{name}'"),
    _("Install psycopg for PostgreSQL, mysqlclient for MySQL and MariaDB, or what {engine} needs."),
    _("The database “{database}” is not completely configured."),
    _("The database “{database}” is read-only: {reason}."),
    _("The database “{database}” is read-only."),
    _("The database “{database}” did not answer in time."),
    _(
        "The database “{database}” was not asked: all {number} connections of its pool are in use, or it does not "
        "answer. If it is healthy, raise max_size of the pool in DATABASES, or start more processes."
    ),
    _("The connection to the database “{database}” was lost."),
    _("The database “{database}” has such a row already."),
    _("In the database “{database}” lies what is not text."),
    _("The database “{database}” had other statements go before, again and again."),
    _("The database “{database}” takes no such value: {reason}"),
    _("The database “{database}” does not allow this to its user: {reason}"),
    _("The database “{database}” failed: {reason}"),
    _("The database “{database}” can't be opened: {reason}"),
    _("The database “{database}” is full: there is no room left on its disk."),
    _(
        "The database “{database}” gave this up: it waited longer for a lock, or took longer, than the server allows."
    ),
    _("The database “{database}” has as many connections as it allows."),
    _("The database “{database}” is starting up, or shutting down."),
    _("The database “{database}” has run out of memory."),
    _("The database “{database}” is locked by another process."),
    _("The database “{database}” refused the user name or the password that DATABASES gives."),
    _("The database “{database}” does not exist on its server, or its user does not."),
    _("The database “{database}” wants a client certificate (sslcert and sslkey in OPTIONS)."),
    _("The database “{database}” does not accept the client certificate that DATABASES gives."),
    _("The database “{database}” can't be reached: a file of certificates in OPTIONS can't be used."),
    _("The database “{database}” has a host name that does not resolve."),
    _("The database “{database}” can't be reached: nothing listens at its host and port."),
    _("The session is larger than the database “{database}” accepts."),
    _("The session is larger than the database “{database}” accepts (max_allowed_packet)."),
    _("This transaction sees the session as it was before another saved it."),
    _("{what} is missing; it is created when you save."),
    _(
        "{what} is missing, and the user of the database “{database}” has no right to create it. Someone who has can "
        "execute: {statements}"
    ),
    _("{reason} {what} could not be created."),
    _("SQLite is a file on one machine: it is not shared by several nodes."),
    _(
        "This server takes statements of {bytes} bytes at most: larger sessions are refused, and can't be moved to it. "
        "Set max_allowed_packet to {least} or more."
    ),
    _("{standbys}, asynchronous ({why}): a fail-over can lose the last writes, a logout among them."),
    _("{replicas}, asynchronous: a fail-over can lose the last writes, a logout among them."),
    _(
        "DATABASES gives several hosts without target_session_attrs: a connection may lead to a standby, which takes "
        "no sessions. Set it to read-write in OPTIONS."
    ),
    _(
        "A host that hangs is passed over after {seconds} seconds, and TIMEOUT_SECONDS is {timeout}: set it to {least} "
        "or more, or a primary that hangs is an outage until it is gone."
    ),
    _(
        "Nodes of this Galera cluster: {number}. When one of them is lost, the others are no majority and refuse to "
        "work. It takes three."
    ),
    _(
        "wsrep_sync_wait is 0: a session that another node of this cluster has just saved may be read as it was "
        "before, or not be found. Set it to 7 in the init_command of OPTIONS."
    ),
)

REDIS = (
    _(
        "This REDIS server is one node of a Cluster and keeps only some of the sessions. Choose Cluster, or enter a "
        "server that keeps them all."
    ),
    _("This is a Sentinel. Choose Sentinel, or enter the REDIS server that it watches."),
    _("This is a REDIS server, and no Sentinel."),
    _("It watches nothing that is called “{name}”."),
    _("This REDIS server has no password: leave the field empty."),
    _("The nodes of this REDIS Cluster do not agree on which of them has this session."),
    _("The memory of this REDIS server is full: it takes no more data."),
    _("This REDIS server is a read-only replica. Use the primary."),
    _("This REDIS server has just started and is still reading its data."),
    _("This REDIS server is a replica that has lost its primary. Use the primary."),
    _("The REDIS Cluster that this server belongs to is down."),
    _("This REDIS server is no node of a Cluster."),
    _("This REDIS server has as many clients as it allows."),
    _("This REDIS server can't write to its disk and takes no changes until it can."),
    _("This REDIS server takes no changes while it has too few replicas."),
    _("This REDIS server is busy with a script that does not end."),
    _("This REDIS server is in protected mode: it needs a password before it serves other machines."),
    _("REDIS wants a password."),
    _("REDIS refused the user name or the password."),
    _("REDIS has no database {database}."),
    _("REDIS can't be sent some character of the user name or the password."),
    _("The REDIS user may not use the keys that sessions have (they begin with KEY_PREFIX)."),
    _("The REDIS user may not run the commands, which sessions need."),
    _("The REDIS user may not run the command {command}, which sessions need."),
    _(
        "This server does not know the commands, which sessions need: it was renamed or turned off, or this is another "
        "kind of server, such as a Sentinel."
    ),
    _(
        "This server does not know the command {command}, which sessions need: it was renamed or turned off, or this "
        "is another kind of server, such as a Sentinel."
    ),
    _(
        "{server} has written this, and too few replicas ({number}) have confirmed it in time: a fail-over could lose "
        "it."
    ),
    _("No Sentinel names a server that is up as “{name}”."),
    _("No server of this REDIS Cluster has the slot of this session."),
    _("{server} did not answer in time."),
    _("{server} refused: “{reason}”"),
    _("{server} gave an answer that no REDIS server gives."),
    _("{server} failed in its driver: {reason}"),
    _(
        "The connection to {address} was lost: the server was restarted, is not a REDIS server, or does not speak TLS."
    ),
    _(
        "The connection to {address} was lost: the server was restarted, is not a REDIS server, does not speak TLS, or "
        "wants a client certificate."
    ),
    _("The connection to {address} was lost: the server was restarted, is not a REDIS server, or wants TLS."),
    _("The file of TLS_CA_FILE can't be read."),
    _("A file of the certificates can't be read."),
    _("This REDIS server wants a client certificate."),
    _("This REDIS server did not accept the client certificate."),
    _(
        "The TLS handshake with REDIS failed: the server may not speak TLS, or its certificate is not trusted. Or it "
        "wants a client certificate."
    ),
    _(
        "The TLS handshake with REDIS failed: the server may not speak TLS, or its certificate is not trusted."
    ),
    _("Under this key lies something that is not a string."),
    _("Under this key lies something that is too short for a session."),
    _("Under this key lies something that ends too early."),
    _("The session is larger than this REDIS server accepts."),
    _("Enter the name that the Sentinels watch the primary by."),
    _("Only one Sentinel is entered: while it is down, no new connection is made. Enter the others, too."),
    _("The Sentinels do not tell which replicas there are, and they were not looked at: {reason}"),
    _("The node at {address} can't tell where the sessions are: {reason}"),
    _("The Sentinel at {address} can't tell where the sessions are: {reason}"),
    _("A REDIS Cluster has the database 0 only."),
    _("With a REDIS Cluster, KEY_PREFIX must not contain braces: all sessions would be on one node."),
    _("Slots of the REDIS Cluster are being moved: whether a session is left can't be told."),
    _("The node at {address}"),
    _("the node at {address}"),
    _("This server"),
    _("this server"),
    _("{server} has no replica: while it is down, its sessions can't be reached."),
    _(
        "The node at {address} refuses every session once one shard is lost. Set cluster-require-full-coverage to no, "
        "so that the users of the other shards notice nothing."
    ),
    _(
        "Under memory pressure {server} evicts keys ({policy}), live sessions among them: users would be logged out. "
        "Set maxmemory-policy to noeviction."
    ),
    _(
        "{server} does not keep every write over a restart (appendonly is off): a restart can log users out. Set "
        "appendonly to yes."
    ),
    _(
        "{server} has {replicas}, asynchronous: a fail-over can lose the last writes, a logout among them. Waiting for "
        "a replica prevents that."
    ),
    _(
        "{server} has {replicas}, and each write waits for {number}: once a replica is lost, every login, change and "
        "logout is a 503. Have one replica more than are waited for."
    ),
)

MONGODB = (
    _("The project has no MongoDB database “{database}” in DATABASES."),
    _("The backend of the database “{database}” can't be imported on this node ({engine})."),
    _(
        "djongo closes the client of the database “{database}” after {seconds} seconds, and each thread makes a new "
        "one, which takes longer than a session does. Set its CONN_MAX_AGE to None."
    ),
    _("Hosts that are found by their SRV name are not entered, too."),
    _("To log in with a certificate takes TLS."),
    _("To log in with a certificate takes one."),
    _("The MONGODB user needs a password."),
    _("This mechanism takes a user name."),
    _("The name server knows no MONGODB hosts under “{host}” (SRV), or did not answer in time."),
    _("MONGODB could not confirm in time that enough of its members have a change; a failover may undo it."),
    _("This MONGODB server is shutting down."),
    _("The disk of this MONGODB server is full: it takes no more data."),
    _("“{database}” can't be the name of a MongoDB database."),
    _("With MONGODB, KEY_PREFIX must not contain “$”, “..” or NUL: the name of a collection begins with it."),
    _("MONGODB knows no user that is called like the subject of this client certificate (in $external)."),
    _("MONGODB refused the user name or the password. It looked for the user in the database “{database}”."),
    _("MONGODB wants a user name and a password."),
    _("The MONGODB user may not read and write the database “{database}”."),
    _(
        "This MONGODB server has a database whose name differs from “{database}” in capital letters only. Enter the "
        "name as it is there."
    ),
    _("This MONGODB server is not the primary: it does not accept writes."),
    _("MONGODB does not take this user name or password: a character in it is not allowed."),
    _("MONGODB can't be reached with these settings: {reason}"),
    _("{server} gave an answer that no MONGODB server gives."),
    _("The connection to {server} was lost."),
    _("The connection to {server} was closed."),
    _(
        "The TLS handshake with MONGODB failed: the server may not speak TLS, or its certificate is not trusted."
    ),
    _("None of these hosts belongs to a replica set “{name}”."),
    _("{server} has no primary at this time: its members are electing one, or too few of them are up."),
    _("None of the hosts can be reached: {server}."),
    _("None of the hosts can be reached. {reasons}"),
    _("{server} did not answer in time, or is not a MONGODB server."),
    _(
        "{server} was not asked: all connections that this process may have are in use, or it does not answer. If it "
        "is healthy, raise maxPoolSize in DATABASES, or start more processes."
    ),
    _("A file of the certificates can't be read on this node."),
    _("Hosts that are entered and do not answer: {hosts}."),
    _("This is a single MongoDB server without a replica set: when it stops, there is no other."),
    _(
        "Members of the replica set with data: {number}. When one of them stops, no majority confirms what is written, "
        "and logins, logouts and changes are answered 503 until it is back. It takes three."
    ),
    _("Members of the replica set that do not answer: {hosts}."),
    _(
        "Only one host of the replica set is entered: a node that starts while it is down finds no other. Its members "
        "are {hosts}."
    ),
    _("This MONGODB server does not accept the client certificate."),
    _("This MONGODB server hangs up after the TLS handshake: it seems to want a client certificate."),
    _("The TTL index on “{collection}” is missing; it is made when you save."),
    _("Under this key lies something that is no document."),
    _("Under this key lies something with a user id that is no text."),
    _("The session is larger than a MongoDB document may be."),
    _(
        "This server deletes sessions as soon as they have expired by its own clock: where that is ahead, users are "
        "logged out early. Have a user with the role dbAdmin set expireAfterSeconds of {index} on “{collection}” to "
        "{seconds} (collMod)."
    ),
)

SENTENCES = (*STEPS, *PLACES, *PARTS, *SETTINGS, *ANY_STORE, *HANDOVER, *MEMORY, *DATABASE, *REDIS, *MONGODB)
GAP = re.compile(r"\{(\w+)\}")


class Known(NamedTuple):
    """A sentence, and what a text has in its gaps."""

    sentence: str
    given: dict[str, str]


def store_name(settings: StoreSettings) -> str:
    """Return what a store is called, in the active language."""
    return in_language(settings.describe())


def said(error: Exception) -> str:
    """Return what is wrong with a store, in the active language."""
    return in_language(str(error))


def in_language(text: str) -> str:
    """Return what a store says in the active language; the names and the servers' own words in it stay."""
    language: str | None = get_language()
    if not language or language.partition("-")[0] == "en":
        return text
    return _in_language(text, DEPTH)


def _in_language(text: str, depth: int) -> str:
    known = find(text) if depth else None
    if known is None:
        return text
    given = {name: _in_language(each, depth - 1) for name, each in known.given.items()}
    return gettext(known.sentence).format(**given)


def find(text: str) -> Known | None:
    """Return the sentence that a text is, with what is in its gaps."""
    whole, gapped = _patterns()
    if text in whole:
        return Known(text, {})
    for sentence, pattern in gapped:
        if found := pattern.fullmatch(text):
            return Known(sentence, found.groupdict())
    return None


@cache
def _patterns() -> tuple[frozenset[str], list[tuple[str, re.Pattern[str]]]]:
    """The sentences without gaps, and those with some, of which the ones that say most come first."""
    gapped = sorted(filter(GAP.search, SENTENCES), key=lambda each: -len(GAP.sub("", each)))
    whole = frozenset(each for each in SENTENCES if not GAP.search(each))
    return whole, [(each, _pattern(each)) for each in gapped]


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = GAP.split(sentence)
    texts = [re.escape(each) if at % 2 == 0 else f"(?P<{each}>.+?)" for at, each in enumerate(parts)]
    return re.compile("".join(texts), re.DOTALL)
