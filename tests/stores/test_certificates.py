"""Files of certificates and keys that staff name: each fault has its sentence, on its field."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.certificates import LARGEST, Certificates
from tests.servers.certificates import make_certificates


@pytest.fixture
def right(tmp_path: Path) -> Certificates:
    made = make_certificates(tmp_path)
    return Certificates(str(made.ca_file), str(made.client_certificate), str(made.client_key))


def test_right_files_pass_apart_and_in_one(right: Certificates, tmp_path: Path) -> None:
    right.check()
    together = tmp_path / "both.pem"
    together.touch(mode=0o600)
    together.write_text(Path(right.client_certificate).read_text() + Path(right.client_key).read_text())
    Certificates(client_certificate=str(together)).check()
    Certificates().check()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    """To open it is to wait for whoever writes to it."""
    path.unlink()
    os.mkfifo(path)


def fault_of(files: Certificates) -> tuple[str | None, str]:
    with pytest.raises(StoreMisconfigured) as caught:
        files.check()
    return caught.value.field, str(caught.value)


@pytest.mark.parametrize("field", ["ca_file", "client_certificate", "client_key"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"no PEM"), "key in this file is none|no certificate in this file"),
        (lambda path: path.write_bytes(b""), "key in this file is none|no certificate in this file"),
        (lambda path: path.write_bytes(bytes(LARGEST + 1)), "no file of a certificate or a key"),
        (a_folder, "no file of a certificate or a key"),
        (a_pipe, "no file of a certificate or a key"),
    ],
    ids=["missing", "no PEM", "empty", "large", "a folder", "a pipe"],
)
def test_file_that_cannot_be_used_is_told_on_its_field(
    right: Certificates, field: str, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(Path(getattr(right, field)))
    where, sentence = fault_of(right)
    assert where == field
    assert any(each in sentence for each in said.split("|"))


@pytest.mark.parametrize("path", ["ca.pem", "~/ca.pem", "/\0", "file:/etc/ca.pem"])
def test_path_that_is_not_whole_is_refused(right: Certificates, path: str) -> None:
    assert fault_of(replace(right, ca_file=path))[0] == "ca_file"


def test_key_needs_its_certificate(right: Certificates) -> None:
    assert fault_of(replace(right, client_certificate=""))[0] == "client_certificate"


def test_key_of_another_certificate_is_refused(right: Certificates, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    stranger = make_certificates(other).client_key
    assert fault_of(replace(right, client_key=str(stranger)))[0] == "client_key"


def test_certificate_without_a_key_is_told_on_the_certificate(right: Certificates) -> None:
    Path(right.client_certificate).chmod(0o600)
    field, sentence = fault_of(replace(right, client_key=""))
    assert field == "client_certificate"
    assert "enter the file of the key" in sentence


def test_key_behind_a_password_is_refused_and_nobody_is_asked(right: Certificates) -> None:
    """OpenSSL would ask at the terminal, and a worker would wait for ever."""
    path = Path(right.client_key)
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pkcs8 = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, encryption))
    assert fault_of(right)[0] == "client_key"


@pytest.mark.parametrize(
    ("mode", "of_root", "of_another"),
    [
        (0o600, True, True),
        (0o400, True, True),
        (0o640, True, False),
        (0o644, False, False),
        (0o660, True, False),
    ],
)
def test_key_that_others_may_read_is_refused(
    right: Certificates, mode: int, of_root: bool, of_another: bool
) -> None:
    path = Path(right.client_key)
    for owner, allowed in ((0, of_root), (65534, of_another)):
        if os.geteuid() == 0:
            shutil.chown(path, owner)
        elif owner == 0:
            continue  # only root can give a file to root
        path.chmod(mode)
        if allowed:
            right.check()
        else:
            assert fault_of(right)[0] == "client_key"


def test_files_are_read_again_for_each_context(right: Certificates) -> None:
    right.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    Path(right.client_key).write_bytes(b"")
    with pytest.raises(OSError, match="PEM"):
        right.load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
