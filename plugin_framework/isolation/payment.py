"""Asks a plugin about a payment, where its hooks run."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress

from plugin_framework.errors import PluginCrashedError, PluginError
from plugin_framework.isolation.session import Ending, Verdict
from plugin_framework.isolation.worker_exit import WorkerExit
from plugin_framework.protocol.models import TaskStatus


class PaymentHost:
    """Takes the answer of one ``on_payment``; all else that a task may ask for is not there."""

    def __init__(self) -> None:
        self._ending: Future[Ending] = Future()

    def ended(self, ending: Ending) -> Verdict:
        """See TaskHost."""
        self._ending.set_result(ending)
        return Verdict(int(TaskStatus.COMPLETED))

    def exited(self, how: WorkerExit) -> None:
        """The process is gone, perhaps without an answer."""
        with suppress(Exception):  # it has answered
            self._ending.set_exception(PluginCrashedError(how.cause()))

    def accepted(self, seconds: float) -> bool:
        """The answer.

        Raises:
            PluginError: the hook failed, or gave none within ``seconds``.
            PluginCrashedError: its process died.
        """
        try:
            ending = self._ending.result(seconds)
        except TimeoutError:
            raise PluginError(f"on_payment took longer than {seconds:g} s") from None
        if ending.result is None:
            raise PluginError(f"on_payment failed: {ending.error}")
        return bool(ending.result["accepted"])
