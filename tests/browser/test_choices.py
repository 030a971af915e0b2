"""The page shows the fields that count by what was chosen, under the strictest policy and in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OnOneNode, Screenshot
from tests.browser.places import Place
from tests.browser.test_login_configuration import strict_policy
from tests.browser.visitor import Visitor

pytestmark = pytest.mark.xdist_group("browser page")


class TestFields(OnOneNode):
    def test_the_fields_of_sentinel_and_of_tls_appear_when_they_are_chosen(
        self, visitor: Visitor, stores: dict[str, Place], screenshot: Screenshot
    ) -> None:
        place = stores["REDIS"]
        visitor.log_in()
        with strict_policy(visitor.page):
            visitor.open_configuration()
            visitor.page.get_by_role("radio", name="REDIS").check()
            host, nodes = visitor.field(place, "Host"), visitor.field(place, "Nodes")
            name, authority = (
                visitor.field(place, label) for label in ("Name of the primary", "Certificate authority")
            )
            expect(host).to_be_visible()
            for hidden in (nodes, name, authority):
                expect(hidden).to_be_hidden()

            visitor.field(place, "Servers").select_option("SENTINEL")
            visitor.field(place, "Use TLS").check()
            for shown in (nodes, name, authority):
                expect(shown).to_be_visible()
            expect(host).to_be_hidden()

            nodes.fill("sentinel-1.example.org")
            visitor.test_connection()
            expect(visitor.errors(place, "Nodes")).to_have_text("Line 1 has no port: enter host:port.")
            screenshot(visitor.page, "sentinel", '.sp-group[data-type="REDIS"]')

            visitor.field(place, "Servers").select_option("CLUSTER")
            expect(visitor.field(place, "Wait for replicas")).to_be_hidden()
            visitor.group(place).get_by_text("More settings").click()
            visitor.field(place, "Wait for replicas").fill("many")
            visitor.group(place).get_by_text("More settings").click()
            visitor.test_connection()
            expect(visitor.errors(place, "Wait for replicas")).to_be_visible()
            expect(nodes).to_be_visible()
            expect(name).to_be_hidden()
