from __future__ import annotations

import pytest

from plugin_framework.errors import AddressRefusedError, StorageUnreachableError
from plugin_framework.settings.model import TransferSettings
from plugin_framework.transfer.address import Guard, kind_of, parse, shown, signed_headers

ALWAYS_REFUSED = [
    "169.254.169.254",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:ec2:ffff::1",
    "fd20:ce::254",
    "fd00:42::42",
    "fd00:c1::a9fe:a9fe",
    "2600::5efe:a9fe:a9fe",
    "2600::200:5efe:169.254.169.254",
    "fe80::5efe:808:808",
    "100.100.100.200",
    "168.63.129.16",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00:808:808",
    "64:ff9b:1:0:a9:fea9:fe00:0",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:808:808::5601:5601",
    "::ffff:0:169.254.169.254",
    "::169.254.169.254",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
]
LOCAL = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "fd12::1",
    "fec0::1",
    "64:ff9b:1:c0a8:1:100::",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2600::5efe:7f00:1",
    "2600::200:5efe:10.0.0.1",
    "fd12::5efe:808:808",
]


@pytest.mark.parametrize("address", ALWAYS_REFUSED)
def test_metadata_and_what_is_no_host_is_neither_public_nor_local(address: str) -> None:
    assert kind_of(address) not in {"public", "local"}


@pytest.mark.parametrize("address", LOCAL)
def test_loopback_and_private_addresses_are_local(address: str) -> None:
    assert kind_of(address) == "local"


@pytest.mark.parametrize(
    "address",
    [
        "52.95.110.1",
        "2600:1f18::1",
        "2600:1f18::5efe:808:808",
        "64:ff9b::345f:6e01",
        "64:ff9b:1::345f:6e01",
        "64:ff9b:1:345f:6e:100::",
    ],
)
def test_other_addresses_are_public(address: str) -> None:
    assert kind_of(address) == "public"


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7F.0x0.0x0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_loopback_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(AddressRefusedError, match="is local"):
        Guard().resolve(parse(f"http://{host}:9000/x"))


@pytest.mark.parametrize(
    "host",
    [
        "2852039166",
        "0xa9fea9fe",
        "025177524776",
        "0xa9.254.0xa9fe",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "[fd00:ec2:0::0:23]",
        "[fd00:42::42]",
        "[fd00:c1::169.254.169.254]",
        "[2600::5efe:a9fe:a9fe]",
    ],
)
def test_metadata_is_refused_even_where_private_addresses_are_allowed(host: str) -> None:
    guard = Guard(allowed_hosts=("*", host), allow_private=True)
    with pytest.raises(AddressRefusedError, match="metadata"):
        guard.resolve(guard.check(f"http://{host}/latest/meta-data"))


@pytest.mark.parametrize("pattern", ["localhost", "LOCAL*", "localhost:9000"])
def test_a_host_that_is_named_may_be_local(pattern: str) -> None:
    guard = Guard(allowed_hosts=(pattern,))
    assert "127.0.0.1" in guard.resolve(guard.check("http://localhost:9000/x"))


def test_ipv6_literals_can_be_named() -> None:
    guard = Guard(allowed_hosts=("[::1]:9000",))
    assert guard.resolve(guard.check("http://[::1]:9000/x")) == ("::1",)


@pytest.mark.parametrize("host", ["[::1]", "[0:0::1]", "[fd00::5]", "[FD00:0::0.0.0.5]"])
def test_the_setting_names_ipv6_addresses_in_any_spelling(host: str) -> None:
    allowed = TransferSettings.model_validate({"allowed_hosts": "[::1],FD00::0:5"}).allowed_hosts
    guard = Guard(allowed_hosts=allowed)
    assert guard.resolve(guard.check(f"http://{host}/x")) in {("::1",), ("fd00::5",)}
    for other in ("[fd00::6]", "[::5]", "[fd00::5:1]", "[fd00:::5]"):
        with pytest.raises(AddressRefusedError, match="allowed hosts"):
            guard.check(f"http://{other}/x")


def test_a_pattern_for_a_port_allows_no_address_that_ends_so() -> None:
    with pytest.raises(AddressRefusedError, match="allowed hosts"):
        Guard(allowed_hosts=("*:443", "::443")).check("http://[2600::443]/x")


@pytest.mark.parametrize("pattern", ["*", "*:80", "*.*", "?*", "**:8[0-9]"])
def test_a_pattern_for_every_host_names_none(pattern: str) -> None:
    guard = Guard(allowed_hosts=(pattern, "*"))
    endpoint = guard.check("http://localhost/x")
    with pytest.raises(AddressRefusedError):
        guard.resolve(endpoint)


@pytest.mark.parametrize(
    "url", ["https://b.example.org/k", "https://b.example.com:444/k", "https://example.com.evil/k"]
)
def test_hosts_that_no_pattern_names_are_refused(url: str) -> None:
    with pytest.raises(AddressRefusedError, match="allowed hosts"):
        Guard(allowed_hosts=("*.example.com:443",)).check(f"{url}?X-Amz-Signature=SECRET")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd?SECRET", "http and https"),
        ("gopher://h/x?SECRET", "http and https"),
        ("no url?SECRET", "http and https"),
        ("http://user:SECRET@h/x", "user name"),
        ("http://h\\@evil/x?SECRET", "user name"),
        ("http://h@/x?SECRET", "user name"),
        ("http://%31%32%37.0.0.1/x?SECRET", "malformed"),
        ("http://127。0。0。1/x?SECRET", "non-ASCII"),
        ("http:///x?SECRET", "no host"),
        ("http://:80/x?SECRET", "no host"),
        ("http://h/a b?SECRET", "spaces"),
        ("http://h/a\r\nX: 1?SECRET", "spaces"),
        ("http://h/ä?SECRET", "non-ASCII"),
        ("http://h/x#SECRET", "fragment"),
        ("http://h:99999/x?SECRET", "malformed"),
        ("http://h:0/x?SECRET", "malformed"),
        ("http://[fe80::1%25eth0]/x?SECRET", "malformed"),
        ("http://h<x>/?SECRET", "malformed"),
    ],
)
def test_what_is_no_plain_url_is_refused_without_showing_its_query(url: str, why: str) -> None:
    with pytest.raises(AddressRefusedError, match=why) as caught:
        parse(url)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "place", ["u:a/SECRET@h/", "u:SECRET?x@h/", "u:SECRET#x@h/", "u:SECRET/x/y@h"]
)
def test_of_a_password_that_is_not_encoded_nothing_is_shown(place: str) -> None:
    assert shown(f"https://{place}") == "https://..."


@pytest.mark.parametrize("place", ["h:9/a?b=c@d", "[::1]/a?b=@", "[::1]:9/a?b=@", "h/a:b?c=@"])
def test_a_host_is_shown_whatever_the_query_is(place: str) -> None:
    assert shown(f"https://{place}") == f"https://{place.partition('?')[0]}"


@pytest.mark.parametrize("piece", ["a", "a:", "//", "//a:", ":1", "/"])
def test_a_long_hostile_url_takes_no_time(piece: str) -> None:
    # Anything quadratic would not end within the time limit of a test.
    for end in ("", "?@", "@"):
        assert shown(f"https://{piece * 300_000}{end}")


def test_a_url_is_shown_without_its_query() -> None:
    assert shown("https://h:1/a/../b?X-Amz-Signature=SECRET") == "https://h:1/a/../b"
    assert "SECRET" not in repr(parse("https://h/a?SECRET"))


def test_the_target_is_kept_to_the_letter() -> None:
    assert parse("HTTP://H/%e4/..//+~?a=%2f&").target == "/%e4/..//+~?a=%2f&"
    assert parse("http://h?q").target == "/?q"
    assert parse("http://h").target == "/"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("X-Amz-SignedHeaders=content-type%3Bhost&X-Amz-Signature=1", {"content-type", "host"}),
        ("x-oss-additional-headers=x-oss-acl", {"x-oss-acl"}),
        ("q-header-list=Host;Content-MD5", {"host", "content-md5"}),
        ("q-header-list=&Signature=1", set()),
        ("a=b", set()),
    ],
)
def test_signed_headers_are_read_from_every_dialect(query: str, names: set[str]) -> None:
    assert signed_headers(f"https://h/k?{query}") == names


def test_a_name_that_does_not_resolve_may_resolve_later() -> None:
    with pytest.raises(StorageUnreachableError, match="does not resolve"):
        Guard().resolve(parse("http://name.invalid/x"))
