"""A name server on the loopback that knows what a test tells it, for the drivers that ask one themselves."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset

TTL = 60


class _Answers(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        asked, line = self.request
        query = dns.message.from_wire(asked)
        response = dns.message.make_response(query)
        question = query.question[0]
        records: dict[tuple[str, str], list[str]] = self.server.records  # type: ignore[attr-defined]
        name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        if found := records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *found))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        line.sendto(response.to_wire(), self.client_address)


@contextmanager
def name_server(records: dict[tuple[str, str], list[str]]) -> Iterator[None]:
    """Have dnspython ask a server that knows these; ``("_x._tcp.a.example", "SRV"): ["0 0 27017 b.example."]``."""
    former = dns.resolver.default_resolver
    with socketserver.ThreadingUDPServer(("127.0.0.1", 0), _Answers) as server:
        server.records = records  # type: ignore[attr-defined]
        threading.Thread(
            target=server.serve_forever, args=(0.02,), daemon=True
        ).start()  # looks whether it is to end
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.server_address[1]
        dns.resolver.default_resolver = resolver
        try:
            yield
        finally:
            dns.resolver.default_resolver = former
            server.shutdown()
