"""Servers that refuse the user, the password or the database."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from plugin_framework.errors import ClusterConfigurationError, Code
from tests.engines.cluster.conftest import opened, running
from tests.free_ports import free_port

SECRET = "s3cret-word"


def refused(url: str, said: str) -> None:
    """It is no matter of waiting: the store says so at once, and not the secret."""
    with pytest.raises(ClusterConfigurationError, match=said) as caught:
        opened(url)
    assert caught.value.code == Code.STORE_REFUSED
    assert SECRET not in repr(caught.value)


def test_redis_that_refuses_us_is_not_waited_for(tmp_path: Path) -> None:
    with ExitStack() as made:
        server = running("redis", tmp_path, made)
        url = server.new()
        refused(f"{url.rpartition('/')[0]}/9999", "out of range")
        admin = made.enter_context(redis.Redis.from_url(url))
        admin.config_set("requirepass", "another")
        refused(url, "authenticated")
        refused(url.replace("//", f"//:{SECRET}@"), "invalid username-password")
        admin.execute_command("ACL", "SETUSER", "few", "on", f">{SECRET}", "+ping")
        refused(url.replace("//", f"//few:{SECRET}@"), "no permissions")


def test_postgresql_that_refuses_us_is_not_waited_for(tmp_path: Path) -> None:
    with ExitStack() as made:
        url = running("postgres", tmp_path, made).new()
        asked_for, owner = url.rpartition("/")[0], urlsplit(url).username
        refused(f"{asked_for}/nosuch", 'database "nosuch" does not exist')
        refused(url.replace(f"//{owner}@", f"//nobody:{SECRET}@"), 'role "nobody" does not exist')
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'another'")
            (rules,) = admin.execute("SHOW hba_file").fetchone() or ()
            rest = Path(rules).read_text()
            Path(rules).write_text(f"host all guarded all scram-sha-256\n{rest}")
            admin.execute("SELECT pg_reload_conf()")
        login = f"//guarded:{SECRET}@"
        refused(url.replace(f"//{owner}@", login), "password authentication failed")
        # As localhost is, where nothing listens at ::1.
        place = f"{urlsplit(url).hostname}:{urlsplit(url).port}"
        both = f"127.0.0.1:{free_port()},{place}"
        refused(url.replace(f"//{owner}@{place}", f"{login}{both}"), "password authentication")
        refused(url.replace(f"//{owner}@", "//guarded@"), "no password supplied")
