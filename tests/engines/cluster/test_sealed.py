"""Part URLs are read by nobody who has not the secret."""

from __future__ import annotations

from pydantic import SecretStr

from plugin_framework.engines.cluster.sealed import Seal

URLS = ["https://store.example.com/a?X-Signature=1", "https://store.example.com/a?X-Signature=2"]
OLD, NEW = SecretStr("old secret"), SecretStr("new secret")


def test_what_was_sealed_is_opened_elsewhere() -> None:
    sealed = Seal(NEW).seal("s", URLS)
    assert Seal(NEW, None).unseal("s", sealed) == URLS


def test_nothing_of_it_can_be_read() -> None:
    sealed = Seal(NEW).seal("s", URLS)
    assert "store" not in sealed
    assert sealed != Seal(NEW).seal("s", URLS)


def test_it_is_of_one_subtask_and_one_secret() -> None:
    sealed = Seal(OLD).seal("s", URLS)
    assert Seal(OLD).unseal("another", sealed) is None
    assert Seal(NEW).unseal("s", sealed) is None
    assert Seal(OLD).unseal("s", sealed[:-4]) is None
    assert Seal(OLD).unseal("s", "Ω") is None


def test_a_secret_may_be_changed_meanwhile() -> None:
    sealed = Seal(OLD).seal("s", URLS)
    assert Seal(NEW, OLD).unseal("s", sealed) == URLS
    assert Seal(NEW).unseal("s", Seal(NEW, OLD).seal("s", URLS)) == URLS


def test_without_a_secret_they_do_not_travel() -> None:
    assert Seal(None).seal("s", URLS) == ""
    assert Seal(NEW).seal("s", []) == ""
    assert Seal(None, None).unseal("s", Seal(NEW).seal("s", URLS)) is None
    assert Seal(NEW).unseal("s", "") is None
