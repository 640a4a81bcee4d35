"""FAULTS.md, row 84: no spelling of an address, and no name, leads into the network here."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugin_framework.errors import AddressRefusedError
from plugin_framework.transfer.address import Guard, kind_of, parse
from plugin_framework.transfer.engine import Engine
from tests.cli.calling import PROJECT
from tests.journal.test_disk import OWN_MOUNTS
from tests.security.rebinding import PUBLIC, Body

# Each looks a name up, which takes what it takes.
UNHURRIED = settings(deadline=None)


def _within(*networks: str) -> st.SearchStrategy[IPv4Address]:
    ranges = [IPv4Network(each) for each in networks]
    return st.one_of([st.integers(int(each[0]), int(each[-1])).map(IPv4Address) for each in ranges])


INSIDE = _within("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
METADATA = _within("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "224.0.0.0/4")
NEVER = st.one_of(METADATA, _within("0.0.0.0/8"))

# As inet_aton reads them, and so getaddrinfo; the standard library's ipaddress takes none.
NUMBERS: list[Callable[[IPv4Address], str]] = [
    str,
    lambda ip: str(int(ip)),
    lambda ip: hex(int(ip)),
    lambda ip: f"0{int(ip):o}",
    lambda ip: ".".join(map(hex, ip.packed)),
    lambda ip: ".".join(f"0{byte:03o}" for byte in ip.packed),
    lambda ip: f"{ip.packed[0]}.{int.from_bytes(ip.packed[1:])}",
    lambda ip: f"{ip.packed[0]}.{ip.packed[1]}.{int.from_bytes(ip.packed[2:])}",
]


def _ipv6(prefix: str, ip: IPv4Address, *, shift: int = 0, flip: int = 0) -> str:
    return str(
        ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | ((int(ip) ^ flip) << shift))
    )


def _after_48_bits(ip: IPv4Address) -> str:
    """RFC 6052, 2.2: the ninth byte is left out."""
    prefix = ipaddress.IPv6Address("64:ff9b:1::").packed[:6]
    address = prefix + ip.packed[:2] + b"\0" + ip.packed[2:]
    return str(ipaddress.IPv6Address(address.ljust(16, b"\0")))


# What IPv6 wraps an IPv4 address in; a gateway unwraps it.
WRAPPED: dict[str, Callable[[IPv4Address], str]] = {
    "mapped": lambda ip: _ipv6("::ffff:0:0", ip),
    "mapped, dotted": lambda ip: f"::ffff:{ip}",
    "NAT64": lambda ip: _ipv6("64:ff9b::", ip),
    "NAT64, dotted": lambda ip: f"64:ff9b::{ip}",
    "local NAT64 of 96 bits": lambda ip: _ipv6("64:ff9b:1::", ip),
    "local NAT64 of 48 bits": _after_48_bits,
    "6to4": lambda ip: _ipv6("2002::", ip, shift=80),
    "Teredo, the client": lambda ip: _ipv6("2001:0:808:808::", ip, flip=0xFFFFFFFF),
    "Teredo, the server": lambda ip: _ipv6("2001::", ip, shift=64),
    "ISATAP": lambda ip: _ipv6("2600::5efe:0:0", ip),
    "ISATAP, of a public address": lambda ip: _ipv6("2600::200:5efe:0:0", ip),
}


def _refused(host: str, guard: Guard) -> str:
    with pytest.raises(AddressRefusedError) as caught:
        guard.resolve(guard.check(f"http://{host}/x"))
    return str(caught.value)


@UNHURRIED
@given(st.one_of(INSIDE, NEVER), st.sampled_from(NUMBERS))
def test_numbers_are_refused_in_every_spelling(ip: IPv4Address, spell: Callable[..., str]) -> None:
    assert str(ip) in _refused(spell(ip), Guard())


@UNHURRIED
@given(NEVER, st.sampled_from(NUMBERS))
def test_what_is_never_allowed_is_not_by_any_setting(
    ip: IPv4Address, spell: Callable[..., str]
) -> None:
    guard = Guard(allowed_hosts=("*", spell(ip)), allow_private=True)
    assert str(ip) in _refused(spell(ip), guard)


@UNHURRIED
@given(INSIDE, st.sampled_from(sorted(WRAPPED)))
def test_what_is_inside_is_not_public_in_ipv6(ip: IPv4Address, how: str) -> None:
    assert kind_of(WRAPPED[how](ip)) != "public"
    _refused(f"[{WRAPPED[how](ip)}]", Guard())


@UNHURRIED
@given(METADATA, st.sampled_from(sorted(WRAPPED)))
def test_what_is_never_allowed_is_not_in_ipv6(ip: IPv4Address, how: str) -> None:
    guard = Guard(allow_private=True)
    assert kind_of(WRAPPED[how](ip)) not in {"public", "local"}
    _refused(f"[{WRAPPED[how](ip)}]", guard)


@UNHURRIED
@given(_within("52.0.0.0/8", "8.0.0.0/8"), st.sampled_from(["mapped", "NAT64", "6to4", "ISATAP"]))
def test_what_is_public_is_public_in_ipv6(ip: IPv4Address, how: str) -> None:
    """So the tests above do not pass by refusing all there is."""
    assert kind_of(WRAPPED[how](ip)) == "public"


@UNHURRIED
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_is_taken_for_another_host(before: str, after: str) -> None:
    """A URL that is taken has one host, which is its own whoever reads it."""
    try:
        endpoint = parse(f"http://{before}example.com{after}")
    except AddressRefusedError:
        return
    authority = f"{before}example.com{after}".partition("/")[0].partition("?")[0]
    assert authority.lower() in {endpoint.host, f"{endpoint.host}:{endpoint.port}"} or (
        authority.lower().startswith(f"{endpoint.host}:")
    )
    assert "@" not in authority


@pytest.mark.parametrize(
    "spelling", ["2130706433", "0x7f000001", "017700000001", "[::ffff:7f00:1]"]
)
def test_the_engine_connects_to_none_of_them(spelling: str) -> None:
    with pytest.raises(AddressRefusedError):
        Engine().get(f"http://{spelling}:9/x", sink=Body(), abort=lambda: False)


def _own_network() -> list[str]:
    return [*OWN_MOUNTS, "--net"]


@pytest.fixture(scope="module")
def rebound(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the program of ``rebinding`` said, in a network and with a resolver of its own."""
    if any(shutil.which(tool) is None for tool in ("unshare", "ip", "mount")):
        pytest.skip("unshare or ip is not installed")
    folder: Path = tmp_path_factory.mktemp("resolver")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (folder / "nsswitch.conf").write_text("hosts: files dns\n")
    script = "".join(
        f"mount --bind {folder}/{name} /etc/{name} && " for name in ("resolv.conf", "nsswitch.conf")
    )
    probe = [*_own_network(), "sh", "-c", f"{script} ip link"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    program = [sys.executable, "-m", "tests.security.rebinding"]
    ended = subprocess.run(
        [*_own_network(), "sh", "-c", f'{script} exec "$@"', "sh", *program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_a_name_means_the_address_that_was_checked(rebound: Any) -> None:
    """The name server says loopback the second time; the first answer holds."""
    assert (rebound["first"], rebound["pinned"]) == (PUBLIC, PUBLIC)
    assert rebound["questions"] == 1


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("asked again", "its address 127.0.0.1 is local"),
        ("metadata", "its address 169.254.169.254 is a metadata"),
        ("one of two", "its address 127.0.0.1 is local"),
        ("the other of two", "its address 127.0.0.1 is local"),
        ("redirected", "its address 169.254.169.254 is a metadata"),
    ],
)
def test_a_name_that_leads_inside_is_refused(rebound: Any, what: str, why: str) -> None:
    assert rebound[what].startswith("AddressRefusedError: ")
    assert why in rebound[what]


def test_nothing_inside_was_ever_asked(rebound: Any) -> None:
    assert rebound["requests inside"] == 0
