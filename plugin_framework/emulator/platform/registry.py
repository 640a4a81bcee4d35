"""The plugin services that are registered, and the plugins each of them has."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from plugin_framework.emulator.database import Database
from plugin_framework.emulator.rules import Refused

NOT_FOUND: Final = 404


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin of the service at ``service``; its own calls are below ``base``.

    ``problem`` says what the service's health check found; None while it is healthy.
    """

    name: str
    version: str
    service: str
    base: str
    healthy: bool = False
    problem: str | None = None


class Registry:
    """Of services that have a plugin of the same name, the one added last has it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, service: str) -> None:
        """Register a service, or register it anew."""
        with self._database.transaction() as sql:
            sql.execute("INSERT OR REPLACE INTO services VALUES (?, ?)", (service, time.time()))

    def remove(self, service: str) -> None:
        """Forget a service and its plugins; what waits for them goes on waiting.

        Raises:
            Refused: with code 404, where it is not registered.
        """
        with self._database.transaction() as sql:
            gone = sql.execute("DELETE FROM services WHERE url = ?", (service,)).rowcount
            sql.execute("DELETE FROM plugins WHERE service = ?", (service,))
        if not gone:
            raise Refused(f"no service {service} is registered", NOT_FOUND)

    def update(self, service: str, plugins: Sequence[Plugin]) -> None:
        """Keep what a registered service says it has. Subtasks move with their plugin."""
        with self._database.transaction() as sql:
            row = sql.execute("SELECT added_at FROM services WHERE url = ?", (service,)).fetchone()
            if row is None:
                return
            sql.execute("DELETE FROM plugins WHERE service = ?", (service,))
            for plugin in plugins:
                _take(sql, plugin, row["added_at"])

    def services(self) -> list[str]:
        """Their addresses, in the order they were added."""
        with self._database.reading() as sql:
            rows = sql.execute("SELECT url FROM services ORDER BY added_at").fetchall()
        return [row["url"] for row in rows]

    def plugins(self) -> list[Plugin]:
        """By name."""
        with self._database.reading() as sql:
            rows = sql.execute("SELECT * FROM plugins ORDER BY name").fetchall()
        return [_plugin(row) for row in rows]

    def plugin(self, name: str) -> Plugin:
        """The plugin of that name.

        Raises:
            Refused: with code 404, where there is none.
        """
        with self._database.reading() as sql:
            row = sql.execute("SELECT * FROM plugins WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Refused(f"no plugin {name} is registered", NOT_FOUND)
        return _plugin(row)


def _take(sql: sqlite3.Connection, plugin: Plugin, added_at: float) -> None:
    newer = sql.execute(
        "SELECT 1 FROM plugins JOIN services ON service = url WHERE name = ? AND added_at > ?",
        (plugin.name, added_at),
    ).fetchone()
    if newer is not None:
        return
    sql.execute(
        "INSERT OR REPLACE INTO plugins (name, service, base, version) VALUES (?, ?, ?, ?)",
        (plugin.name, plugin.service, plugin.base, plugin.version),
    )
    sql.execute(
        "UPDATE subtasks SET service = :service WHERE status IN (0, 1, 2) AND plugin = :name"
        " AND service <> :service",
        {"name": plugin.name, "service": plugin.service},
    )


def _plugin(row: sqlite3.Row) -> Plugin:
    return Plugin(row["name"], row["version"], row["service"], row["base"])
