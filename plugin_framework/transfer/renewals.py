"""How often an upload is given fresh URLs."""

from __future__ import annotations

from plugin_framework.errors import StorageError
from plugin_framework.transfer.refusals import UrlExpiredError

VAIN_RENEWALS = 2
"""How often URLs are renewed without more of the file in storage than ever before."""


class Renewals:
    """Whether another set of URLs may help an upload on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._best = 0.0
        self._in_vain = 0
        self._any = False

    def allow(self, error: UrlExpiredError, *, new: bool, share: float) -> None:
        """Return if so.

        ``new``: parts were stored by the URLs that were refused; ``share`` (0 to 1) of the file is
        in storage now.

        Raises:
            StorageError: storage refuses fresh ones, too; or they expire too soon for this file.
        """
        if self._any and not new:
            raise error  # its age is not what is wrong with it
        self._any = True
        self._in_vain = 0 if share > self._best else self._in_vain + 1
        self._best = max(self._best, share)
        if self._in_vain >= VAIN_RENEWALS:
            raise StorageError(
                f"the URLs for {self._name} expire before it is stored, which no renewal changes:"
                f" only {self._best:.0%} of it got there. Raise DATAHUB_TRANSFER__CONCURRENCY, or"
                f" have Datahub sign URLs that live longer ({error})",
                status=error.status,
                store_code=error.store_code,
                request_id=error.request_id,
            ) from None
