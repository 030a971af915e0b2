"""This machine or container, among the nodes of the site."""

from __future__ import annotations

from sessionpersist import conf


def node_name() -> str:
    """Return the name of this node: ``SESSIONPERSIST["NODE_NAME"]``, or the host name."""
    return conf.node_name()
