# ruff: noqa: ARG002 - of one subtask; a journal's uploads are of all
"""What of an attempt's uploads is in storage already, where the attempts after it find it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from plugin_framework.engines.cluster.records import Kept, Lease, SharedUpload
from plugin_framework.engines.cluster.sealed import Seal
from plugin_framework.engines.cluster.store import LeaseStore
from plugin_framework.engines.cluster.writes import Writes
from plugin_framework.journal.uploads import KeptPart, KeptUpload, Output


class SharedUploads:
    """The uploads of one attempt; see ``journal.uploads.UploadLog``.

    Of an upload of one part there is only that part to lose: only its end is written to the store.
    """

    def __init__(
        self, store: LeaseStore, lease: Lease, writes: Writes, seal: Seal, kept: Kept
    ) -> None:
        self._store = store
        self._lease = lease
        self._writes = writes
        self._seal = seal
        self._lock = threading.Lock()
        self._outputs = {output.name: output for output in kept.outputs}
        self._uploads = {
            each.name: upload for each in kept.uploads if (upload := self._opened(each)) is not None
        }

    def outputs(self, subtask_id: str) -> list[Output]:
        """See ``UploadLog``."""
        with self._lock:
            return [output for _, output in sorted(self._outputs.items())]

    def find(self, subtask_id: str, name: str) -> KeptUpload | None:
        """See ``UploadLog``."""
        with self._lock:
            return self._uploads.get(name)

    def begin(
        self,
        subtask_id: str,
        name: str,
        *,
        upload_id: str,
        size: int,
        chunk: int,
        part_size: int = 0,
        urls: Sequence[str],
    ) -> None:
        """See ``UploadLog``."""
        if chunk:
            sealed = self._seal.seal(subtask_id, urls)
            shared = SharedUpload(name, upload_id, size, chunk, part_size, sealed)
            self._writes.patiently(lambda: self._store.begin_upload(self._lease, shared))
        with self._lock:
            before = self._uploads.get(name)
            parts = before.parts if before is not None and before.upload_id == upload_id else {}
            self._uploads[name] = KeptUpload(
                upload_id, size, chunk, part_size, list(urls), parts, completed=False
            )

    def keep(
        self,
        subtask_id: str,
        name: str,
        upload_id: str,
        index: int,
        part: KeptPart,
        *,
        several: bool,
    ) -> None:
        """See ``UploadLog``."""
        if several:
            self._writes.patiently(
                lambda: self._store.keep_part(self._lease, name, upload_id, index, part)
            )
        with self._lock:
            upload = self._uploads.get(name)
            if upload is not None and upload.upload_id == upload_id:
                self._uploads[name] = replace(upload, parts={**upload.parts, index: part})

    def complete(
        self,
        subtask_id: str,
        output: Output,
        upload_id: str,
        *,
        durable: bool,
    ) -> None:
        """See ``UploadLog``."""
        self._writes.patiently(lambda: self._store.complete_upload(self._lease, output, upload_id))
        with self._lock:
            self._outputs[output.name] = output
            upload = self._uploads.get(output.name)
            if upload is not None and upload.upload_id == upload_id:
                self._uploads[output.name] = replace(upload, urls=[], completed=True)

    def forget(self, subtask_id: str) -> None:
        """See ``UploadLog``; the store forgets them by itself."""

    def _opened(self, shared: SharedUpload) -> KeptUpload | None:
        """None: its URLs did not travel, so that it is of no use."""
        urls = self._seal.unseal(self._lease.subtask_id, shared.sealed_urls)
        if urls is None and not shared.completed:
            return None
        return KeptUpload(
            shared.upload_id,
            shared.size,
            shared.chunk,
            shared.part_size,
            urls or [],
            shared.parts,
            shared.completed,
        )
