"""Celery as this engine uses it: queues, their delivery, and broadcasts; nothing else of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kombu import Connection, Queue, serialization

from plugin_framework.engines.celery.bases import Celery
from plugin_framework.engines.celery.broker import Broker
from plugin_framework.settings import Settings

TASK = "datahub.run"
"""The one task: its keyword arguments are a ``Message``."""
MANAGE = "datahub_manage"
"""The control command that is broadcast: ``subtask_id`` and ``status``, a number."""
SERIALIZER = "datahub-json"
"""Plain JSON. Celery's own makes other objects of some mappings, or refuses them."""

HEARTBEAT_SECONDS = 10


class App(Celery):
    """Celery whose broker is the settings', whatever CELERY_BROKER_URL says."""

    def __init__(self, broker: Broker) -> None:
        # No repr of it shows the address: it has the password.
        self._broker = broker
        super().__init__("datahub", set_as_current=False)

    def connection_for_read(self, url: str | None = None, **given: Any) -> Connection:  # noqa: ARG002 - as it is called
        """The settings' broker."""
        return super().connection_for_read(self._broker.url, **given)

    def connection_for_write(self, url: str | None = None, **given: Any) -> Connection:  # noqa: ARG002 - as it is called
        """The settings' broker."""
        return super().connection_for_write(self._broker.url, **given)


def make_app(settings: Settings, queues: Sequence[Queue] = (), *, name: str = "") -> App:
    """Celery for these queues, which are consumed and never declared by it.

    Its connections are listed at the broker by the ``name``.
    """
    serialization.register(
        SERIALIZER, json.dumps, json.loads, "application/vnd.datahub+json", "utf-8"
    )
    broker = Broker(settings)
    app = App(broker)
    app.conf.update(
        **_connecting(broker, name or "datahub"),
        **_DELIVERING,
        **_NOT_WANTED,
        task_queues=list(queues),
        task_default_queue=queues[0].name if queues else "datahub",
    )
    return app


def _connecting(broker: Broker, name: str) -> dict[str, Any]:
    return {
        "broker_use_ssl": dict(broker.tls) if broker.tls else None,
        "broker_login_method": "PLAIN",
        "broker_connection_timeout": broker.connect_seconds,
        "broker_heartbeat": HEARTBEAT_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_transport_options": {"client_properties": {"connection_name": name}},
        # RabbitMQ 4.3 refuses queues that are neither durable nor exclusive.
        "control_queue_exclusive": True,
    }


_DELIVERING = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": False,
    "task_serializer": SERIALIZER,
    "accept_content": ["json", SERIALIZER],
    "task_default_queue_type": "quorum",
    "task_default_exchange": "",
    "worker_prefetch_multiplier": 1,
    "worker_consumer": "plugin_framework.engines.celery.consumer:PlainConsumer",
    "worker_enable_remote_control": True,
    # Our own leases say whether what runs may go on.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
}

_NOT_WANTED = {
    "task_ignore_result": True,
    "task_create_missing_queues": False,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
}
