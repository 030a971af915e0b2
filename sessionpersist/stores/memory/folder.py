"""The folder of the In-Memory store: for one user and one site alone, and always found again.

Its name is made of the secret key of the site, so that no other user of the machine can make it beforehand. One under
the name of an older key, or under that of version 0.2.0, which was made of none, goes on being used for as long as it
is there: so do processes that still go by it. The folder of the newest key then only names it, for the day when the
older key is no longer known.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.secret import SecretBytes

POINTER = "older-name"  # a file in the folder of the newest key: the name of the folder that is in use


def folders(directory: Path, site: str, secrets: Sequence[str | bytes]) -> tuple[Path, Path]:
    """Return the folder that the newest key gives, and the one that is in use, which may be the same."""
    names = [*(secret_name(site, secret) for secret in secrets), plain_name(site)]
    newest, *former = (directory / f"sessionpersist-{os.getuid()}-{name}" for name in names)
    known = newest if os.path.lexists(newest) else next(filter(is_private, former), newest)
    return newest, named_in(known)


def make_private(folder: Path, newest: Path) -> None:
    """Make the folder, for this user alone, and refuse one that another user put there."""
    make_folder(folder)
    if not is_private(folder):
        raise StoreMisconfigured(
            f"The folder {folder} must belong to the user of the site, with the mode 0700. Remove it; or, "
            "where another user of this machine has made it, set SESSIONPERSIST['MEMORY_DIR'] to a folder that "
            "only the user of the site may write to."
        )
    if folder != newest:
        name_in(newest, folder)


def named_in(folder: Path) -> Path:
    """Return the folder of an older name that this one stands for; without one, itself."""
    if not is_private(folder) or not (folder / POINTER).is_file():
        return folder
    older = folder.with_name((folder / POINTER).read_text())
    return older if is_private(older) else folder


def name_in(folder: Path, older: Path) -> None:
    """Have a folder stand for one of an older name, in one step. Whoever is first says so."""
    if os.path.lexists(folder):
        return
    made = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    (made / POINTER).write_text(older.name)
    try:
        made.rename(folder)
    except OSError:  # another process was first
        shutil.rmtree(made)


def secret_name(site: str, secret: str | bytes) -> str:
    """Return what nobody can know who does not know the secret key of the site."""
    key = SecretBytes(secret.encode() if isinstance(secret, str) else secret)
    return hmac.digest(key, b"sessionpersist.memory.v1:" + site.encode(), "sha256").hex()[:32]


def plain_name(site: str) -> str:
    return hashlib.sha256(site.encode()).hexdigest()[:12]


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and what is missing above it, for this user alone whatever the umask."""
    if not folder.parent.exists():
        make_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return
    folder.chmod(0o700)


def is_private(folder: Path) -> bool:
    """Return whether there is a folder, no link, that nobody but this user may enter."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
