"""The classes of Celery's that ours derive from, with the types that Celery does not give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    class _Untyped:
        def __init__(self, *given: Any, **options: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

    class Celery(_Untyped):
        """An application."""

        connection_for_read: Any
        connection_for_write: Any

    class Consumer(_Untyped):
        """A worker's loop, connection for connection."""

        class Blueprint(_Untyped):
            """The steps of a connection."""

            default_steps: list[Any]

        create_task_handler: Any
        on_connection_error_after_connected: Any

    class Control(_Untyped):
        """The step that listens for commands."""

    class Pidbox(_Untyped):
        """A mailbox for commands."""

        start: Any

    class Request(_Untyped):
        """A message that is worked on."""

        acknowledge: Any
        reject: Any

    class TaskPool(_Untyped):
        """Threads."""

        on_apply: Any

    class WorkController(_Untyped):
        """A worker."""

else:
    from celery import Celery
    from celery.concurrency.thread import TaskPool
    from celery.worker import WorkController
    from celery.worker.consumer import Consumer
    from celery.worker.consumer.control import Control
    from celery.worker.pidbox import Pidbox
    from celery.worker.request import Request

__all__ = [
    "Celery",
    "Consumer",
    "Control",
    "Pidbox",
    "Request",
    "TaskPool",
    "WorkController",
]
