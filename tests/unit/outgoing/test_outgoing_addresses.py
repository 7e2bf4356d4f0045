# SPDX-License-Identifier: Apache-2.0
import ipaddress

import pytest

from inglenook.outgoing.addresses import refusal
from inglenook.outgoing.errors import BadAddress
from inglenook.outgoing.target import is_below, moved, parse


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00::1"]
)
def test_the_public_internet_is_asked(text: str) -> None:
    assert refusal(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.1.2.3",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2a00::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_everything_else_is_refused_with_a_reason(text: str) -> None:
    assert refusal(ipaddress.ip_address(text))


def test_an_address_is_taken_apart_once() -> None:
    target = parse("HTTPS://Example.ORG.:8443/a%20b?q=1#part")
    assert (target.scheme, target.host, target.port, target.path) == (
        "https",
        "example.org",
        8443,
        "/a%20b?q=1",
    )
    assert target.authority == "example.org:8443"
    assert target.at("2a00::1") == "https://[2a00::1]:8443/a%20b?q=1"
    assert parse("http://example.org").at("1.1.1.1") == "http://1.1.1.1:80/"
    assert parse("http://[2a00::1]/x").host == "2a00::1"


def test_a_name_in_another_script_becomes_ascii() -> None:
    assert parse("http://bücher.example/").host == "xn--bcher-kva.example"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org/a.png",
        "//example.org/",
        "file:///etc/passwd",
        "ftp://example.org/",
        "gopher://127.0.0.1:11211/_stats",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http:///a.png",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://example.org /",
        "http://example.org/\r\nHost: 127.0.0.1",
        "http://example.org/\x00",
        "http://example.org:99999/",
        "http://example.org:port/",
        "http://[::1",
        "http://example.org/" + "a" * 5000,
    ],
)
def test_what_is_no_plain_address_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        parse(url)


def test_a_redirect_counts_from_where_it_stands() -> None:
    here = parse("https://example.org/a/b?c")
    assert moved(here, "../d").absolute() == "https://example.org/d"
    assert moved(here, "//cdn.example.org/e").host == "cdn.example.org"
    assert moved(here, "https://[::1]/").host == "::1"


@pytest.mark.parametrize(
    "location", ["http://example.org/", "file:///etc/passwd", "https://u:p@example.org/"]
)
def test_a_redirect_to_what_is_not_allowed_is_refused(location: str) -> None:
    with pytest.raises(BadAddress):
        moved(parse("https://example.org/"), location)


def test_a_host_covers_what_is_below_it_and_nothing_that_looks_like_it() -> None:
    assert is_below("example.org", ["example.org"])
    assert is_below("cdn.example.org", ["example.org"])
    assert not is_below("notexample.org", ["example.org"])
    assert not is_below("example.org.evil.example", ["example.org"])
    assert not is_below("1.2.3.4", ["3.4"])
