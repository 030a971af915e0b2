"""What the app relies on that its dependencies do not promise, in one list.

Each entry has a canary in tests/stores/test_internals.py: it asks the dependency alone, so that an upgrade that takes
something away fails there, with the name of what is gone, before users notice. The oldest versions in which all of it
works are the lower bounds in pyproject.toml; ``make floors`` runs the tests of the stores on them.
"""

from __future__ import annotations

from typing import NamedTuple


class Internal(NamedTuple):
    name: str
    package: str
    what: str
    used_in: str


INTERNALS = (
    Internal(
        "redis_connect",
        "redis",
        "Connection._connect() makes the socket; all reading and writing goes through what it returns, as _sock",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_tls",
        "redis",
        "SSLConnection._wrap_socket_with_ssl(socket) makes the TLS handshake on a socket that is given",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_pool",
        "redis",
        "a pool's get_connection() takes no argument; release() and disconnect() manage what it gave",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_exchange",
        "redis",
        "pack_command(), pack_commands(), send_packed_command(check_health=) and read_response() of a connection",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_reader",
        "redis",
        "the parser on hiredis reads into _buffer, and what is fed to its _reader is its next answer, after which "
        "has_data() tells whether there is more; without hiredis that is what unread_bytes() of _buffer says",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_parser",
        "redis",
        "DefaultParser is the parser in use, and its parse_error() makes the error of an error reply",
        "stores/redis/wire.py",
    ),
    Internal(
        "redis_topology",
        "redis",
        "NodesManager asks the nodes that it is given, on pools of its connection_pool_class, and has slots_cache and "
        "nodes_cache, whose nodes have host, port and server_type; it fails with an IndexError where nobody has a slot",
        "stores/redis/cluster.py",
    ),
    Internal(
        "redis_redirections",
        "redis",
        "MovedError and AskError are made of what follows the code, and have host and port",
        "stores/redis/cluster.py, stores/redis/wire.py",
    ),
    Internal(
        "redis_sentinels",
        "redis",
        "Sentinel.discover_master() asks sentinel_masters() of each of its sentinels, and puts the one that knew first",
        "stores/redis/sentinel.py",
    ),
    Internal(
        "redis_primary",
        "redis",
        "a connection of SentinelConnectionPool asks where the primary is, then connects by _connect(); the pool keeps "
        "that as master_address",
        "stores/redis/sentinel.py",
    ),
    Internal(
        "redis_codes",
        "redis",
        "the code of an error reply is the class of the error, or stays in its text",
        "stores/redis/errors.py",
    ),
    Internal(
        "django_redis_factory",
        "django-redis",
        "ConnectionFactory makes a pool of its own, and hands CONNECTION_POOL_KWARGS to it",
        "stores/redis/wire.py",
    ),
    Internal(
        "psycopg_libpq",
        "psycopg",
        "Connection.pgconn executes prepared statements without the driver noticing",
        "stores/database/prepared.py",
    ),
    Internal(
        "psycopg_connection",
        "psycopg",
        "a connection has a lock, takes attributes of others, and is closed once pgconn.finish() was called",
        "stores/database/prepared.py, stores/deadlines.py",
    ),
    Internal(
        "psycopg_pool",
        "psycopg-pool",
        "_getconn_unchecked(timeout) gives a connection as it lies there; its _pool takes it back, or throws it away",
        "stores/deadlines.py",
    ),
    Internal(
        "psycopg_cut_off",
        "psycopg",
        "whoever waits for an answer notices that the socket, fileno(), was shut down",
        "stores/deadlines.py",
    ),
    Internal(
        "pymysql_cut_off",
        "PyMySQL",
        "whoever waits for an answer notices that the socket, _sock.fileno(), was shut down",
        "stores/deadlines.py",
    ),
    Internal(
        "pymysql_patience",
        "PyMySQL",
        "_read_timeout and _write_timeout hold from the next read and write on",
        "stores/deadlines.py",
    ),
    Internal(
        "pymongo_pool",
        "pymongo",
        "MongoClient takes a _pool_class, whose connect(handler) and _get_conn() make and lend its connections",
        "stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_size",
        "pymongo",
        "a connection reads no answer larger than its max_message_size (before 4.18: than 48 MB)",
        "stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_handler",
        "pymongo",
        "a pool tells its handler of a connection by contribute_socket(), before the login",
        "stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_deadline",
        "pymongo",
        "_csot.clamp_remaining() knows what is left of timeoutMS",
        "stores/mongodb/pool.py, stores/mongodb/store.py",
    ),
    Internal(
        "pymongo_tls",
        "pymongo",
        "get_ssl_context() makes a context, of Python's ssl for asyncio, also where pyOpenSSL is installed; it takes a "
        "certificate and its key apart; opts.__ssl_context of a pool "
        "wraps its next connections, which resume nothing where its _ssl_session_cache is None",
        "stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_socket",
        "pymongo",
        "a connection reads and writes by recv_into() and sendall() of conn.conn, and sets its time-out before",
        "stores/mongodb/waiting.py",
    ),
    Internal(
        "pymongo_conditions",
        "pymongo",
        "a client waits for a server by its _condition_class, which takes a lock, and has wait() and notify_all(); its "
        "pools wait for nobody where they have no bounds (maxPoolSize, maxConnecting)",
        "stores/mongodb/waiting.py, stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_lending",
        "pymongo",
        "a pool lends in its checkout(handler), a context manager; conns are those that are idle, and _perished() "
        "tells of one of them that it is closed, or closes it",
        "stores/mongodb/pool.py",
    ),
    Internal(
        "pymongo_retries",
        "pymongo",
        "a client asks its _retry_policy by backoff(attempt, base) how long to pause where a server is overloaded, and "
        "by should_retry(attempt, delay) whether to try again",
        "stores/mongodb/waiting.py",
    ),
    Internal(
        "pymongo_commands",
        "pymongo",
        "_conn_for_writes(None, name) of a client lends a connection, whose command(database, command, codec_options=) "
        "executes that, and takes as long to send it as set_conn_timeout() has said; "
        "_check_write_command_response() raises what the answer to a write tells",
        "stores/mongodb/store.py",
    ),
    Internal(
        "pymongo_srv",
        "pymongo",
        "_get_topology() asks the name server for the hosts behind an SRV name, once a client",
        "stores/mongodb/client.py",
    ),
    Internal(
        "pymongo_texts",
        "pymongo",
        "why no server could be selected is told in the text of the error",
        "stores/mongodb/errors.py",
    ),
    Internal(
        "django_mongodb_backend_pools",
        "django-mongodb-backend",
        "a connection keeps its database as an attribute, and the client of each alias in _connection_pools",
        "stores/mongodb/alias.py",
    ),
    Internal(
        "djongo_client",
        "djongo-certego",
        "a connection that has no client_connection makes one, and connection is then PyMongo's database",
        "stores/mongodb/alias.py",
    ),
    Internal(
        "django_connecting",
        "Django",
        "a database connection opens itself by its get_new_connection(), to which it hands its parameters",
        "stores/deadlines.py",
    ),
    Internal(
        "django_connection_state",
        "Django",
        "what is known of a connection: in_atomic_block, autocommit, execute_wrappers, queries_logged, health checks",
        "stores/database/prepared.py, stores/deadlines.py",
    ),
    Internal(
        "django_psycopg_pools",
        "Django",
        "the pools of psycopg lie in DatabaseWrapper._connection_pools, by alias",
        "stores/database/store.py, stores/deadlines.py",
    ),
    Internal(
        "django_schema_editor",
        "Django",
        "a schema editor that is not entered collects its SQL in collected_sql and deferred_sql",
        "stores/database/tables.py",
    ),
    Internal(
        "django_session",
        "Django",
        "SessionBase keeps _session_key and _session_cache, and loads by load()",
        "engine.py",
    ),
    Internal(
        "django_response",
        "Django",
        "a response closes its _resource_closers, and is not logged where it _has_been_logged",
        "middleware.py",
    ),
    Internal(
        "django_receivers",
        "Django",
        "a signal has _live_receivers(sender), first those that are no coroutines, and _log_robust_failure()",
        "stores/telling.py",
    ),
    Internal(
        "lmdb_transaction",
        "lmdb",
        "a transaction that reads ends with the last reference to it, and its slot is used again",
        "stores/memory/shared_map.py",
    ),
    Internal(
        "lmdb_error",
        "lmdb",
        "an error has the number of the system as its code",
        "stores/memory/store.py",
    ),
)
