"""Which URLs and addresses the stack connects to for a user."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.addresses import AddressRefused, check_url, refusal_of

#: Address, refused on a hosted stack, refused on the user's own machine too.
ADDRESSES = [
    ("8.8.8.8", False, False),
    ("52.216.8.1", False, False),
    ("172.15.255.255", False, False),
    ("172.32.0.1", False, False),
    ("192.0.1.1", False, False),
    ("192.167.1.1", False, False),
    ("100.63.255.255", False, False),
    ("100.128.0.1", False, False),
    ("169.253.1.1", False, False),
    ("223.255.255.255", False, False),
    ("2606:4700::1111", False, False),
    ("2a05:d018::1", False, False),
    ("10.0.0.1", True, False),
    ("10.255.255.255", True, False),
    ("127.0.0.1", True, False),
    ("127.255.255.254", True, False),
    ("172.16.0.1", True, False),
    ("172.31.255.255", True, False),
    ("192.168.0.1", True, False),
    ("100.64.0.1", True, False),
    ("100.127.255.255", True, False),
    ("192.0.0.8", True, False),
    ("192.0.2.1", True, False),
    ("192.88.99.1", True, False),
    ("198.18.0.1", True, False),
    ("198.19.255.255", True, False),
    ("198.51.100.7", True, False),
    ("203.0.113.7", True, False),
    ("::1", True, False),
    ("fc00::1", True, False),
    ("fd12:3456::1", True, False),
    ("2001:db8::1", True, False),
    ("2001:10::1", True, False),
    ("3fff::1", True, False),
    ("0.0.0.0", True, True),
    ("0.1.2.3", True, True),
    ("169.254.169.254", True, True),
    ("169.254.170.2", True, True),
    ("169.254.0.1", True, True),
    ("100.100.100.200", True, True),
    ("168.63.129.16", True, True),
    ("192.0.0.192", True, True),
    ("224.0.0.1", True, True),
    ("239.255.255.250", True, True),
    ("240.0.0.1", True, True),
    ("255.255.255.255", True, True),
    ("::", True, True),
    ("fe80::1", True, True),
    ("fe80::1%eth0", True, True),
    ("fec0::1", True, True),
    ("fd00:ec2::254", True, True),
    ("fd00:ec2::23", True, True),
    ("fd20:ce::254", True, True),
    ("ff02::1", True, True),
    ("::ffff:8.8.8.8", True, True),
    ("::ffff:127.0.0.1", True, True),
    ("::ffff:169.254.169.254", True, True),
    ("::ffff:0:8.8.8.8", True, True),
    ("::127.0.0.1", True, True),
    ("64:ff9b::7f00:1", True, True),
    ("64:ff9b:1::7f00:1", True, True),
    ("2002:7f00:1::", True, True),
    ("2002:a9fe:a9fe::", True, True),
    ("2001:0:4136:e378::1", True, True),
    ("100::1", True, True),
    ("4000::1", True, True),
    ("5f00::1", True, True),
]


@pytest.mark.parametrize(("text", "hosted", "local"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_addresses(text: str, hosted: bool, local: bool) -> None:
    assert (refusal_of(ip_address(text)) is not None) == hosted
    assert (refusal_of(ip_address(text), allow_private=True) is not None) == local


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_refused(address) -> None:  # type: ignore[no-untyped-def]
    if not address.is_global or address.is_multicast:
        assert refusal_of(address) is not None
    assert refusal_of(address) is not None or refusal_of(address, allow_private=True) is None


ACCEPTED = [
    ("https://example.com", "https://example.com/", "example.com", 443),
    ("https://Example.COM/Hook?a=b&c=%20", "https://example.com/Hook?a=b&c=%20", "example.com", 443),
    ("HTTPS://example.com:443/x", "https://example.com/x", "example.com", 443),
    ("https://example.com:8400/x", "https://example.com:8400/x", "example.com", 8400),
    ("https://example.com:80/", "https://example.com:80/", "example.com", 80),
    ("https://example.com:65535/", "https://example.com:65535/", "example.com", 65535),
    ("https://example.com?x=1", "https://example.com/?x=1", "example.com", 443),
    ("https://a_b.example.com/", "https://a_b.example.com/", "a_b.example.com", 443),
    ("https://bücher.example/größe", "https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe", "xn--bcher-kva.example", 443),
    ("https://straße.example/", "https://xn--strae-oqa.example/", "xn--strae-oqa.example", 443),
    ("https://ｅｘａｍｐｌｅ。com/", "https://example.com/", "example.com", 443),
    ("https://8.8.8.8/x", "https://8.8.8.8/x", "8.8.8.8", 443),
    ("https://[2606:4700:0::1111]:8443/", "https://[2606:4700::1111]:8443/", "2606:4700::1111", 8443),
    ("https://1.example.com/", "https://1.example.com/", "1.example.com", 443),
    ("https://example.com/a//b/../c", "https://example.com/a//b/../c", "example.com", 443),
    (
        "https://example.com/?next=http://u:p@10.0.0.1/",
        "https://example.com/?next=http://u:p@10.0.0.1/",
        "example.com",
        443,
    ),
]


@pytest.mark.parametrize(("given_url", "url", "host", "port"), ACCEPTED, ids=[row[0] for row in ACCEPTED])
def test_accepted(given_url: str, url: str, host: str, port: int) -> None:
    safe = check_url(given_url)
    assert (safe.url, safe.host, safe.port) == (url, host, port)
    assert check_url(safe.url) == safe


REFUSED = [
    ("", "length"),
    ("https://example.com/" + "x" * 2000, "length"),
    ("http://example.com/", "scheme"),
    ("ftp://example.com/", "scheme"),
    ("file:///etc/passwd", "scheme"),
    ("gopher://example.com:8000/", "scheme"),
    ("//example.com/", "scheme"),
    ("example.com/hook", "scheme"),
    ("https:/example.com", "scheme"),
    ("https://", "scheme"),
    ("https://:443/", "host"),
    ("https://user@example.com/", "userinfo"),
    ("https://user:secret@example.com/", "userinfo"),
    ("https://example.com@10.0.0.1/", "userinfo"),
    ("https://@example.com/", "userinfo"),
    ("https://example.com/#x", "fragment"),
    ("https://example.com#@10.0.0.1/", "fragment"),
    ("https://example.com\\@10.0.0.1/", "characters"),
    ("https://exa mple.com/", "characters"),
    (" https://example.com/", "characters"),
    ("https://exam\tple.com/", "characters"),
    ("https://example.com/\r\nX: y", "characters"),
    ("https://example.com/\x00", "characters"),
    ("https://example.com/\x85", "characters"),
    ("https://example.com:22/", "port"),
    ("https://example.com:25/", "port"),
    ("https://example.com:7999/", "port"),
    ("https://example.com:0/", "port"),
    ("https://example.com:65536/", "port"),
    ("https://example.com:/", "port"),
    ("https://example.com:٤٤٣/", "port"),
    ("https://example.com:+443/", "port"),
    ("https://example.com:443:443/", "port"),
    ("https://example.com./", "host"),
    ("https://example.com。/", "host"),
    ("https://example..com/", "host"),
    ("https://.example.com/", "host"),
    ("https://-example.com/", "host"),
    ("https://exam%70le.com/", "host"),
    ("https://exam!ple.com/", "host"),
    ("https://" + "a" * 64 + ".com/", "host"),
    ("https://" + "a." * 127 + "com/", "host"),
    ("https://[example.com]/", "host"),
    ("https://[::1/", "host"),
    ("https://[2606:4700::1]x/", "host"),
    ("https://[fe80::1%25eth0]/", "host"),
    ("https://[8.8.8.8]/", "host"),
    ("https://localhost/", "address"),
    ("https://LOCALHOST:8443/", "address"),
    ("https://app.localhost/", "address"),
    ("https://printer.local/", "address"),
    ("https://metadata.google.internal/", "address"),
    ("https://ip-10-0-0-1.ec2.internal/", "address"),
    ("https://intranet/", "address"),
    ("https://127.0.0.1/", "address"),
    ("https://10.1.2.3:8443/", "address"),
    ("https://169.254.169.254/latest/meta-data/", "address"),
    ("https://[::1]/", "address"),
    ("https://[::ffff:10.0.0.1]/", "address"),
    ("https://[fd00:ec2::254]/", "address"),
    ("https://[64:ff9b::a9fe:a9fe]/", "address"),
    ("https://2130706433/", "host"),
    ("https://0x7f000001/", "host"),
    ("https://0x7f.0.0.1/", "host"),
    ("https://127.0.0.0x1/", "host"),
    ("https://0177.0.0.1/", "host"),
    ("https://127.0.0.01/", "host"),
    ("https://127.1/", "host"),
    ("https://127.0.1/", "host"),
    ("https://8.8.8.8.8/", "host"),
    ("https://256.1.1.1/", "host"),
    ("https://example.123/", "host"),
    ("https://example.0x/", "host"),
    ("https://１２７.0.0.1/", "address"),
    ("https://①②⑦.⓪.⓪.①/", "address"),
    ("https://127。0。0。1/", "address"),
    ("https://ⓛocalhost/", "address"),
    ("https://loc\u00adalhost/", "address"),
]


@pytest.mark.parametrize(("url", "reason"), REFUSED, ids=[ascii(row[0])[:60] for row in REFUSED])
def test_refused(url: str, reason: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_url(url)
    assert caught.value.reason == reason
    assert caught.value.advice
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8400/",
        "http://127.0.0.1:22/",
        "http://nas/",
        "https://[::1]:1/",
        "http://10.0.0.1/",
        "http://x.local/",
    ],
)
def test_own_machine(url: str) -> None:
    assert check_url(url, allow_private=True).url == url
    with pytest.raises(AddressRefused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/",
        "http://0.0.0.0/",
        "http://0/",
        "http://[::ffff:127.0.0.1]/",
        "http://u@localhost/",
        "http://127.1/",
    ],
)
def test_refused_on_the_own_machine_too(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, allow_private=True)


@given(st.text(max_size=80), st.sampled_from(["", "http://", "https://", "https://[", "https://x:"]))
def test_any_text_is_judged(text: str, start: str) -> None:
    try:
        safe = check_url(start + text)
    except AddressRefused:
        return
    assert safe.url.isascii()
    assert check_url(safe.url) == safe
