"""URLs that SDKs sign for the local storage, sent to it as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from plugin_framework.emulator.app import ACCESS_KEY
from plugin_framework.transfer.engine import Engine
from plugin_framework.transfer.exchange import Answer
from tests.dialects.keys import HOSTILE_KEYS
from tests.dialects.places import Place
from tests.dialects.signers import (
    Account,
    Signer,
    signed_urls,
    with_boto3,
    with_cos,
    with_oss2,
)


class Nowhere:
    """Takes no body: an answer then keeps it."""

    def begin(self, answer: Answer) -> bool:
        return False

    def write(self, data: memoryview) -> object:
        raise AssertionError


def with_cos_here(account: Account) -> Signer:
    return with_cos(account, domain=f"{account.netloc}/{account.bucket}")


def moved(make: Callable[[Account], Signer]) -> Callable[[Account], Signer]:
    """For SDKs that know no path before the bucket, where none is signed either."""

    def make_here(account: Account) -> Signer:
        host, _, path = account.netloc.partition("/")
        sign = make(Account(f"http://{host}", account.bucket, account.access_key, account.secret))
        return lambda *what: sign(*what).replace(f"{host}/", f"{host}/{path}/", 1)

    return make_here


ROUTED = tuple(key for key in HOSTILE_KEYS if "\n" not in key)
"""Keys that reach the storage: a line break is nothing that is served here, signed or not."""

SIGNERS: dict[str, tuple[str, Callable[[Account], Signer]]] = {
    "boto3 V4": ("s3", with_boto3),
    "boto3 V2": ("s3", lambda account: with_boto3(account, "s3")),
    "oss2 V4": ("oss", moved(with_oss2)),
    "oss2 V1": ("oss", moved(lambda account: with_oss2(account, 1))),
    "cos": ("cos", with_cos_here),
}


@pytest.mark.parametrize("name", SIGNERS)
def test_the_signature_is_right_whatever_the_key(
    name: str, places: dict[str, Place], engine: Engine
) -> None:
    """There is no such object, which only those learn whose signature is right."""
    dialect, make = SIGNERS[name]
    place = places[dialect]
    account = Account(
        f"{place.emulator.url}/storage", "datahub", ACCESS_KEY, place.store.storage_secret
    )
    urls = list(signed_urls({name: make(account)}, ROUTED))
    for signed in (each for each in urls if each.method == "GET"):
        answer = engine.get(signed.url, sink=Nowhere(), abort=lambda: False)
        assert (answer.status, b"<Code>NoSuchKey</Code>" in answer.body) == (404, True), signed
