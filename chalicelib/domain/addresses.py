"""Which URLs and addresses the stack may connect to on behalf of a user. Pure: names are resolved elsewhere.

A destination is text that a user typed; without these rules it could make a function of the stack talk to the metadata
service, to a neighbour in the same network, or to itself (SSRF). A URL is judged twice: by its text here, and by every
address its name stands for at the moment of connecting (``delivery/safe_http.py``). The tables are IANA's registries
of special-purpose addresses, written out: what ``ipaddress`` calls global differs between versions of Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

import idna

IPAddress = IPv4Address | IPv6Address

MAX_URL_CHARS: Final = 2000
MAX_HOST_CHARS: Final = 253
#: Beside 80 and 443 on a hosted stack: where people's own stores and receivers listen (8080, 8443, 9000), and above
#: the ports of mail, directories and most databases.
FIRST_HIGH_PORT: Final = 8000


class AddressRefused(Exception):
    """The stack does not connect there. ``reason`` is stable; the texts repeat no more of the URL than its host."""

    def __init__(self, reason: str, message: str, advice: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.advice = advice


@dataclass(frozen=True)
class SafeUrl:
    """A URL whose text is acceptable. ``url`` is its canonical spelling, ASCII only; ``host`` is what is resolved, put
    into the Host header and compared with the certificate (an IPv6 address without brackets)."""

    url: str
    scheme: str
    host: str
    port: int
    target: str

    @property
    def address(self) -> IPAddress | None:
        """The host, when it is an address already."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


#: Refused everywhere, on a developer's machine too: no destination is ever there.
_NEVER: Mapping[IPv4Network | IPv6Network, str] = {
    IPv4Network("0.0.0.0/8"): "unspecified",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("100.100.100.200/32"): "metadata",
    IPv4Network("168.63.129.16/32"): "metadata",
    IPv4Network("192.0.0.192/32"): "metadata",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
    IPv6Network("::/128"): "unspecified",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("fec0::/10"): "site-local",
    IPv6Network("fd00:ec2::/32"): "metadata",
    IPv6Network("fd20:ce::254/128"): "metadata",
    IPv6Network("ff00::/8"): "multicast",
    IPv6Network("::ffff:0:0/96"): "an IPv4 address in disguise",
    IPv6Network("::ffff:0:0:0/96"): "an IPv4 address in disguise",
    IPv6Network("64:ff9b::/96"): "an IPv4 address in disguise",
    IPv6Network("64:ff9b:1::/48"): "an IPv4 address in disguise",
    IPv6Network("2002::/16"): "an IPv4 address in disguise",
    IPv6Network("2001::/32"): "an IPv4 address in disguise",
}
#: Refused on a hosted stack.
_NOT_PUBLIC: Mapping[IPv4Network | IPv6Network, str] = {
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "shared by a carrier (CGNAT)",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "reserved",
    IPv4Network("192.0.2.0/24"): "reserved",
    IPv4Network("192.88.99.0/24"): "reserved",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("198.18.0.0/15"): "reserved",
    IPv4Network("198.51.100.0/24"): "reserved",
    IPv4Network("203.0.113.0/24"): "reserved",
    IPv6Network("::1/128"): "loopback",
    IPv6Network("fc00::/7"): "private",
    IPv6Network("2001::/23"): "reserved",
    IPv6Network("2001:db8::/32"): "reserved",
    IPv6Network("2620:4f:8000::/48"): "reserved",
    IPv6Network("3fff::/20"): "reserved",
}
#: All that is handed out of IPv6 so far; what lies outside and in no table above is nobody's.
_GLOBAL_V6: Final = IPv6Network("2000::/3")

#: Names that mean this machine or this network, wherever they are resolved.
_LOCAL_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DOTTED = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
#: Full stops of other scripts, which name preparation turns into ours.
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def refusal_of(address: IPAddress, *, allow_private: bool = False) -> str | None:
    """Why the stack does not connect to ``address`` (a word for people), or None.

    ``allow_private`` (a stack on the user's own machine) lets loopback, private and carrier-shared addresses through;
    metadata services, link-local, multicast and disguised IPv4 addresses stay refused.
    """
    never = _found(address, _NEVER)
    if never:
        return never
    known = _found(address, _NOT_PUBLIC)
    if known:
        return None if allow_private else known
    return "reserved" if isinstance(address, IPv6Address) and address not in _GLOBAL_V6 else None


def check_address(address: IPAddress, host: str, *, allow_private: bool = False) -> None:
    """Raises AddressRefused when ``host`` stands for an address that ``refusal_of`` refuses."""
    reason = refusal_of(address, allow_private=allow_private)
    if reason:
        raise AddressRefused(
            "address",
            f"{host} is at an address that is not public ({reason}).",
            "Give an address that the internet can reach.",
        )


def _found(address: IPAddress, table: Mapping[IPv4Network | IPv6Network, str]) -> str | None:
    return next(
        (why for network, why in table.items() if address.version == network.version and address in network), None
    )


def check_url(url: str, *, allow_private: bool = False) -> SafeUrl:
    """``url`` in its canonical spelling, when its text is acceptable: https (http only with ``allow_private``), a host
    in its ordinary spelling, no name or password, no fragment, one of the usual ports (any with ``allow_private``).

    Raises AddressRefused. A host that is an address is judged by ``refusal_of`` here already.
    """
    if not 0 < len(url) <= MAX_URL_CHARS:
        raise _refused("length", f"A URL has 1 to {MAX_URL_CHARS} characters.", "Give a shorter URL.")
    if any(ord(c) <= 0x20 or 0x7F <= ord(c) < 0xA0 for c in url) or "\\" in url:
        # Parsers disagree on these: some drop tabs, some read a backslash as a slash.
        raise _refused("characters", "The URL holds a space, a control character or a backslash.", "Percent-encode it.")
    try:
        split = urlsplit(url)
    except ValueError:
        raise _malformed() from None
    _check_scheme(split, allow_private)
    if "@" in split.netloc:
        raise _refused(
            "userinfo",
            "The URL holds a user name or password.",
            "Leave it out; secrets belong into a stored credential.",
        )
    if "#" in url:
        raise _refused("fragment", "The URL holds a fragment (#…), which no server sees.", "Leave it out.")
    host, port_text = _host_and_port(split.netloc)
    port = _port(port_text, split.scheme, allow_private)
    host, shown = _host(host, allow_private)
    path = _ascii(split.path or "/")
    target = path + (f"?{_ascii(split.query)}" if split.query else "")
    authority = shown if port == _DEFAULT_PORTS[split.scheme] else f"{shown}:{port}"
    return SafeUrl(f"{split.scheme}://{authority}{target}", split.scheme, host, port, target)


def _check_scheme(split: SplitResult, allow_private: bool) -> None:
    if split.scheme == "http" and not allow_private:
        raise _refused(
            "scheme", "The URL begins with http://: what is sent would be readable on the way.", "Use https://."
        )
    if split.scheme not in _DEFAULT_PORTS or not split.netloc:
        raise _refused(
            "scheme", "The URL does not begin with https://.", "Give a whole URL, such as https://example.com/hook."
        )


def _host_and_port(netloc: str) -> tuple[str, str | None]:
    """Both as written; an IPv6 address keeps its brackets."""
    if netloc.startswith("["):
        inside, closing, rest = netloc.partition("]")
        if not closing or (rest and not rest.startswith(":")):
            raise _malformed()
        return inside + closing, rest[1:] if rest else None
    host, colon, port = netloc.partition(":")
    return host, port if colon else None


def _port(text: str | None, scheme: str, allow_private: bool) -> int:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    if not _PORT.fullmatch(text) or not 0 < int(text) <= 65535:
        raise _refused("port", "The URL's port is not a number from 1 to 65535.", "Leave it out for the usual one.")
    port = int(text)
    if not allow_private and port not in _DEFAULT_PORTS.values() and port < FIRST_HIGH_PORT:
        raise _refused(
            "port",
            f"Port {port} is not one that this stack connects to.",
            f"Use 443, or one from {FIRST_HIGH_PORT} up.",
        )
    return port


def _host(text: str, allow_private: bool) -> tuple[str, str]:
    """What is resolved, and how it stands in a URL."""
    if text.startswith("["):
        address = _address(text[1:-1], version=6)
        check_address(address, f"[{address}]", allow_private=allow_private)
        return str(address), f"[{address}]"
    name = _ascii_name(text)
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        # Whatever ends in a number is read as an IPv4 address by some resolver: octal, hexadecimal, one number, three.
        if not _DOTTED.fullmatch(name):
            raise _refused("host", "The host is a number in an unusual spelling.", "Write addresses as 192.0.2.1.")
        address = _address(name, version=4)
        check_address(address, name, allow_private=allow_private)
        return name, name
    if len(name) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise _malformed()
    if not allow_private and (len(labels) == 1 or _is_local(name)):
        raise _refused(
            "address",
            f"{name} is a name of a local network.",
            "Give a host that the internet can reach, such as example.com.",
        )
    return name, name


def _ascii_name(text: str) -> str:
    if "%" in text or text.endswith("."):
        raise _malformed()
    try:
        # Also for ASCII names: full-width digits and dots must have become what a resolver sees before they are judged.
        name = text.lower() if text.isascii() else idna.encode(text.translate(_DOTS), uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise _malformed() from None
    if not name or name.endswith("."):
        raise _malformed()
    return name


def _address(text: str, *, version: int) -> IPAddress:
    try:
        address = ip_address(text)
    except ValueError:
        raise _malformed() from None
    if address.version != version or "%" in text:
        raise _malformed()
    return address


def _is_local(name: str) -> bool:
    return any(name == local or name.endswith(f".{local}") for local in _LOCAL_NAMES)


def _ascii(text: str) -> str:
    """Path or query with what is not ASCII percent-encoded; everything else as it is."""
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "replace")) for c in text)


def _malformed() -> AddressRefused:
    return _refused(
        "host", "The URL has no host that could be read without doubt.", "Give a URL such as https://example.com/hook."
    )


def _refused(reason: str, message: str, advice: str) -> AddressRefused:
    return AddressRefused(reason, message, advice)
