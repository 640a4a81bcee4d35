"""The URLs of an upload's parts, as they may lie in a store: nobody reads them without the secret.

Whoever has such a URL may write to the object, so they travel sealed by a key that is made of
``DATAHUB_API_SECRET`` and the subtask's id. Without that secret they do not travel at all: the next
attempt asks Datahub for others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

from pydantic import SecretStr

_PURPOSE = b"datahub plugin framework: part URLs of subtask "


class Seal:
    """Seals with the first of the secrets, and opens with any: one may be about to be changed."""

    def __init__(self, *secrets: SecretStr | None) -> None:
        self._secrets = [secret for secret in secrets if secret is not None]

    def seal(self, subtask_id: str, urls: Sequence[str]) -> str:
        """The URLs of a subtask, sealed; empty where there is no secret or no URL."""
        if not self._secrets or not urls:
            return ""
        from cryptography.fernet import Fernet  # noqa: PLC0415 - takes 30 ms

        fernet = Fernet(_key(self._secrets[0], subtask_id))
        return fernet.encrypt(json.dumps(list(urls)).encode()).decode()

    def unseal(self, subtask_id: str, sealed: str) -> list[str] | None:
        """What was sealed; None where it was not, or not with these secrets for this subtask."""
        if not self._secrets or not sealed:
            return None
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet  # noqa: PLC0415 - as above

        keys = MultiFernet([Fernet(_key(secret, subtask_id)) for secret in self._secrets])
        try:
            urls: list[str] = json.loads(keys.decrypt(sealed.encode()))
        except InvalidToken:
            return None
        return urls


def _key(secret: SecretStr, subtask_id: str) -> bytes:
    digest = hmac.digest(
        secret.get_secret_value().encode(), _PURPOSE + subtask_id.encode(), hashlib.sha256
    )
    return base64.urlsafe_b64encode(digest)
