"""Connection strings of MONGODB, taken apart into fields: what is kept, what is refused, and no secret is repeated."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pymongo import MongoClient
from pymongo.errors import ConfigurationError
from pymongo.uri_parser import parse_uri

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.mongodb.store import MongoStore
from sessionpersist.stores.mongodb.uri import from_uri, is_uri
from sessionpersist.stores.settings import MongoSettings
from tests.servers import MongoDB, ReplicaSet, require, shared
from tests.servers.certificates import make_certificates
from tests.servers.names import name_server
from tests.stores.contract import a_key, a_record


@pytest.mark.parametrize(
    ("uri", "fields"),
    [
        ("mongodb://db.example", {"host": "db.example", "port": 27017, "nodes": "", "tls": False}),
        ("MONGODB://db:1234/", {"host": "db", "port": 1234}),
        ("mongodb://[::1]:7/app", {"host": "::1", "port": 7, "database": "app"}),
        (f"mongodb://h:{'0' * 5000}7/", {"host": "h", "port": 7}),
        ("mongodb://[::1]/app", {"host": "::1", "port": 27017}),
        (
            "mongodb://a,b:1,[fe80::1]:2/app?replicaSet=rs0",
            {"host": "a", "nodes": "b:1\n[fe80::1]:2", "replica_set": "rs0", "database": "app"},
        ),
        ("mongodb://u:p%40%3A%25@h/", {"username": "u", "password": "p@:%", "database": None}),
        ("mongodb://u:p@h/app", {"username": "u", "auth_source": "app"}),
        ("mongodb://u:p@h/app?authSource=admin", {"database": "app", "auth_source": "admin"}),
        (
            "mongodb://u@h/?authMechanism=MONGODB-X509&tls=true",
            {"mechanism": "MONGODB-X509", "password": None},
        ),
        ("mongodb://u:p@h/app?authMechanism=scram-sha-1", {"mechanism": "SCRAM-SHA-1"}),
        ("mongodb://h/?ssl=true&tlsCAFile=/ca.pem", {"tls": True, "ca_file": "/ca.pem"}),
        ("mongodb://h/?tls=true&tlsCertificateKeyFile=/c.pem", {"client_certificate": "/c.pem"}),
        (
            "mongodb+srv://u:p@cluster.example.net/app?retryWrites=true&w=majority&appName=Cluster0",
            {"srv": True, "tls": True, "host": "cluster.example.net", "database": "app", "port": None},
        ),
        ("mongodb+srv://cluster.example.net/?tls=false", {"srv": True, "tls": False}),
        ("mongodb://h/?tlsCAFile=/ca.pem", {"tls": True, "ca_file": "/ca.pem", "client_certificate": ""}),
        (
            "mongodb://h/?tlsCertificateKeyFile=/c.pem",
            {"tls": True, "client_certificate": "/c.pem", "client_key": ""},
        ),
        ("mongodb+srv://h.example.net/?tlsCAFile=/ca.pem", {"tls": True, "ca_file": "/ca.pem"}),
        ("mongodb://h/", dict.fromkeys(("username", "mechanism", "auth_source", "replica_set"), "")),
        ("mongodb://u@h/", {"username": "u", "password": None}),  # it is typed into its own field
        ("mongodb://h/?readPreference=primary&directConnection=false&journal=true", {"host": "h"}),
    ],
)
def test_each_part_goes_into_its_field(uri: str, fields: dict[str, Any]) -> None:
    assert is_uri(uri)
    found = from_uri(uri)
    assert {name: found.get(name) for name in fields} == fields
    MongoSettings(**found)  # all of them are fields


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("w=1", "w can only be majority"),
        ("w=0", "w can only be majority"),
        ("readPreference=secondary", "readPreference can only be primary"),
        ("retryWrites=false", "retryWrites can only be true"),
        ("directConnection=true", "directConnection can only be false"),
        ("maxPoolSize=5", "maxPoolSize has no field"),
        ("tlsInsecure=true", "tlsInsecure has no field"),
        ("tlsAllowInvalidCertificates=true", "tlsAllowInvalidCertificates has no field"),
        ("authMechanism=PLAIN", "authMechanism can't have this value"),
        ("tls=yes", "tls can't have this value"),
        ("tls=false&tlsCAFile=/ca.pem", "tlsCAFile is of use with TLS only"),
        ("tlsCertificateKeyFile=/c.pem&ssl=false", "tlsCertificateKeyFile is of use with TLS only"),
        ("replicaSet=", "replicaSet can't have this value"),
        ("tls=true&ssl=false", "more than once"),
        ("replicaSet=a&replicaset=b", "more than once"),
        ("replicaSet=%zz", "%25"),
        ("replicaSet=%ff", "no text"),
    ],
)
def test_an_option_that_cannot_be_kept_is_refused_by_its_name(options: str, named: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        from_uri(f"mongodb://app:hush@h/?{options}")
    assert named in str(caught.value)
    assert caught.value.field == "host"


@pytest.mark.parametrize(
    "uri",
    [
        "redis://app:hush@h",
        "mongodb://",
        "mongodb://app:hush@",
        "mongodb://app:hu@sh@h",
        "mongodb://app:hush/word@h",
        "mongodb://app:hush?word@h",
        "mongodb://app:hush#word@h",
        "mongodb://app:hush:word@h",
        "mongodb://app:hush%@h",
        "mongodb://:hush@h",
        "mongodb://app:hush@h:0",
        "mongodb://app:hush@h:70000",
        "mongodb://app:hush@h:port",
        "mongodb://app:hush@h:" + "9" * 5000,
        "mongodb://app:hush@h:" + "0" * 5000,
        "mongodb://app:hush@h:00655350",
        "mongodb://app:hush@a,,b",
        "mongodb://app:hush@::1",
        "mongodb://app:hush@/tmp/mongodb-27017.sock",
        "mongodb://app:hush@%2Ftmp%2Fmongodb-27017.sock",
        "mongodb+srv://app:hush@a,b",
        "mongodb+srv://app:hush@a:27017",
        "mongodb://app:hush@h/a/b",
        "mongodb://app:hush@h/?hush=1",
        "mongodb://app:hush@h/?h%75sh=1",
        "mongodb://app:hush@h/" + "x" * 20_000,
    ],
)
def test_what_is_none_is_refused_on_the_host_and_no_login_is_repeated(uri: str) -> None:
    with pytest.raises(StoreMisconfigured) as caught:
        from_uri(uri)
    assert caught.value.field == "host"
    said = str(caught.value).replace("The option hush", "")  # the name of an option is no secret
    assert "hush" not in said
    assert "word" not in said.replace("password", "")


@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
@pytest.mark.parametrize("tls", ["", "tls=true", "ssl=false"])
@pytest.mark.parametrize("file", ["", "tlsCAFile", "tlsCertificateKeyFile"])
def test_it_is_encrypted_where_the_driver_would_do_so(
    tmp_path: Path, scheme: str, tls: str, file: str
) -> None:
    made = make_certificates(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(made.client_certificate.read_text() + made.client_key.read_text())
    path = made.ca_file if file == "tlsCAFile" else both
    options = "&".join(filter(None, [tls, f"{file}={path}" if file else ""]))
    uri = f"{scheme}://h.test.example/?{options}"
    with name_server({("_mongodb._tcp.h.test.example", "SRV"): ["0 0 27017 m.test.example."]}):
        try:
            with MongoClient[Any](uri, connect=False) as client:
                encrypted = client.options.pool_options._ssl_context is not None
                encrypted = encrypted or parse_uri(uri)["options"].get("tls", False)  # what SRV implies
        except ConfigurationError:
            with pytest.raises(StoreMisconfigured, match=file):
                from_uri(uri)
        else:
            assert from_uri(uri)["tls"] is encrypted


@pytest.mark.xdist_group("replica_set")
@pytest.mark.parametrize("kind", [MongoDB, ReplicaSet])
def test_the_string_of_a_real_server_leads_to_it(kind: type[MongoDB]) -> None:
    require(kind)
    server = shared(kind)
    uri = server.url
    if isinstance(server, ReplicaSet):
        login = f"{quote(server.username, safe='')}:{quote(server.password, safe='')}"
        hosts = ",".join(server.nodes)
        uri = f"mongodb://{login}@{hosts}/{server.database}?replicaSet={server.name}&w=majority"
    found = from_uri(uri)
    with closing(MongoStore(MongoSettings(**found), found["password"], 5, "uri")) as store:
        assert store.create(key := a_key(), record := a_record())
        assert store.get(key) == record
