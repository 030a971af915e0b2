"""What a roster says of where a session is used: a device by name and a shortened address, never the raw header."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import NamedTuple

from django.http import HttpRequest
from django.utils.translation import gettext as _

from sessionpersist import conf

LONGEST_HEADER = 512  # characters of it that are looked at
LONGEST_NAME = 80  # characters
ON = " on "  # between the browser and the system
PREFIXES = {4: 24, 6: 48}  # bits that are kept of an address, by the version of the protocol


def in_words(device: str) -> str:
    """Return the name of a device, which a roster has in English, in the language of the page."""
    browser, on, system = device.rpartition(ON)
    return _("{browser} on {system}").format(browser=browser, system=system) if on else device


class Seen(NamedTuple):
    """What came with the request of a login, as far as it is needed."""

    user_agent: str = ""
    address: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> Seen:
        header, address = request.META.get("HTTP_USER_AGENT"), request.META.get("REMOTE_ADDR")
        return cls(str(header or "")[:LONGEST_HEADER], str(address or ""))

    @property
    def device(self) -> str:
        """The browser and the system in words, such as "Firefox on Linux"; "" where neither is known."""
        if not self.user_agent:
            return ""
        from ua_parser import parse  # here: it takes a while to load, and is needed at a login only

        found = parse(self.user_agent)
        browser = found.user_agent.family if found.user_agent else ""
        system = found.os.family if found.os else ""
        model = found.device.model if found.device and found.device.model else ""
        where = model if model and model not in ("Mac", "PC") else system
        name = f"{browser}{ON}{where}" if browser and where else browser or where
        return "".join(each for each in name if each.isprintable())[:LONGEST_NAME]

    @property
    def place(self) -> str:
        """The network that the address is in, /24 or /48; "" where it is unknown or ``ADDRESSES`` is off."""
        if not self.address or not conf.get("ADDRESSES"):
            return ""
        try:
            address = ip_address(self.address.partition("%")[0])
        except ValueError:
            return ""  # a socket of the web server, say
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        return str(ip_network((address, PREFIXES[address.version]), strict=False))


UNSEEN = Seen()
