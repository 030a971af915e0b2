"""Bad input for the fields that name several servers: each gets its sentence, on its field."""

from __future__ import annotations

import pytest

from sessionpersist.exceptions import StoreMisconfigured
from sessionpersist.stores.addresses import Address, addresses

BAD = {
    "": "Enter at least one server",
    " \n \r\n": "Enter at least one server",
    "redis": "Line 1 has no port",
    "a:1\nredis.example.org": "Line 2 has no port",
    "2001:db8::1": "not the name or the address of a host",
    "[2001:db8::1]": "Line 1 has no port",
    "a:": "The port of line 1 is not a whole number from 1 to 65535",
    "a:0": "The port of line 1",
    "a:65536": "The port of line 1",
    "a:99999999999999999999": "The port of line 1",
    f"a:{'9' * 5000}": "The port of line 1",
    f"a:{'0' * 5000}": "The port of line 1",
    "a:00655350": "The port of line 1",
    "a:1_0": "The port of line 1",
    "a:-1": "The port of line 1",
    "a:६": "The port of line 1",
    ":6379": "Line 1 is not the name",
    "redis://a:1": "Line 1 is not the name",
    "user:hush@a:1": "Line 1 is not the name",
    "a b:1": "Line 1 is not the name",
    "a:1,b:2": "Line 1 is not the name",
    "a:1\nb:2\nA:1": "Enter each server once",
    "a.example:1\nA.Example.:1": "Enter each server once",
    "[::1]:1\n[0:0:0:0:0:0:0:1]:1": "Enter each server once",
    "[2001:DB8::A]:1\n[2001:db8:0::a]:01": "Enter each server once",
    "\n".join(f"a:{port}" for port in range(1, 200)): "Enter at most 100",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_list_of_servers_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(StoreMisconfigured, match=BAD[text]) as caught:
        addresses(text)
    assert caught.value.field == "nodes"
    assert "hush" not in str(caught.value)


def test_names_and_addresses_are_read_in_order() -> None:
    found = addresses(" redis-1.example.org:6379 \r\n\n10.0.0.7:7000\n[2001:db8::1]:7001")
    assert found == [("redis-1.example.org", 6379), ("10.0.0.7", 7000), ("2001:db8::1", 7001)]
    assert [str(each) for each in found[1:]] == ["10.0.0.7:7000", "[2001:db8::1]:7001"]
    assert addresses("a:1") == [Address("a", 1)]


def test_zeros_before_a_port_say_nothing_however_many() -> None:
    assert addresses(f"a:{'0' * 5000}6379\nb:065535\na:06380") == [("a", 6379), ("b", 65535), ("a", 6380)]
