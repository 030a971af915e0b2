"""Two nodes of MariaDB with Galera, each of which takes writes."""

from pathlib import Path

from tests.servers.mariadb import MariaDB
from tests.servers.places import free_port

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")


class GaleraNode(MariaDB):
    """A node of its own cluster, or one that joins another and gets all that is there, users too."""

    title = "Galera"
    package = "galera-4 and rsync with the package manager of the system"
    variable = ""

    def __init__(
        self, *, tls: bool = False, password: str | None = None, joins: MariaDB | None = None
    ) -> None:
        super().__init__(tls=tls, password=password)
        self.joins = joins
        self.group_port, self.transfer_port, self.increment_port = (free_port() for _ in range(3))
        if joins is not None:
            self.password, self.admin_username = joins.password, joins.admin_username
            self.admin_password = joins.admin_password

    @classmethod
    def find_program(cls) -> Path | None:
        there = any(Path(each).exists() for each in PROVIDERS) and Path("/usr/bin/rsync").exists()
        return super().find_program() if there else None

    def _command(self) -> list[str]:
        provider = next(each for each in PROVIDERS if Path(each).exists())
        command = super()._command()
        others = ""
        if isinstance(self.joins, GaleraNode):
            others = f"{self.host}:{self.joins.group_port}"
            command = [each for each in command if not each.startswith("--init-file")]
        listening = f"gmcast.listen_addr=tcp://{self.host}:{self.group_port}"
        return [
            *command,
            "--wsrep-on=ON",
            f"--wsrep-provider={provider}",
            f"--wsrep-cluster-address=gcomm://{others}",
            f"--wsrep-node-address={self.host}",
            f"--wsrep-provider-options={listening};ist.recv_addr={self.host}:{self.increment_port}",
            "--wsrep-sst-method=rsync",
            f"--wsrep-sst-receive-address={self.host}:{self.transfer_port}",
            "--binlog-format=ROW",
            "--innodb-autoinc-lock-mode=2",
        ]

    def _prepare(self) -> None:
        if self.joins is None:
            super()._prepare()
        else:
            (self.folder / "data").mkdir(mode=0o700)
            self._give_away(self.folder / "data")


class Galera(GaleraNode):
    """The first node; ``other`` is the second."""

    def __init__(self, *, tls: bool = False, password: str | None = None) -> None:
        super().__init__(tls=tls, password=password)
        self.other = GaleraNode(joins=self)

    def _set_up(self) -> None:
        super()._set_up()
        self.other = GaleraNode(joins=self).start()

    def stop(self) -> None:
        try:
            self.other.stop()
        finally:
            super().stop()
