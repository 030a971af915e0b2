"""A driver for MySQL and MariaDB where there is no compiler to build mysqlclient with."""

from importlib.util import find_spec


def provide_driver() -> None:
    """Let PyMySQL, which is pure Python, stand in for mysqlclient where only PyMySQL is installed.

    Django imports its driver under the name ``MySQLdb`` and refuses old versions of it. PyMySQL takes that
    name here, and since 1.2 it reports a version of mysqlclient that every supported Django accepts.
    """
    if find_spec("MySQLdb") is None and find_spec("pymysql") is not None:
        import pymysql

        pymysql.install_as_MySQLdb()
