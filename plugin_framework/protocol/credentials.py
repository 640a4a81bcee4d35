"""What authenticates our calls to Datahub (PROTOCOL.md, 2.1 and part 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from plugin_framework.errors import Code, ConfigurationError
from plugin_framework.protocol.signing import signature_headers


@dataclass(frozen=True, slots=True)
class Credentials:
    """Key and secret sign; else the token is sent as a bearer; else nothing (part 3).

    Raises:
        ConfigurationError: the key or the token cannot go into a header.
    """

    key: str | None = field(default=None, repr=False)
    secret: SecretStr | None = None
    token: SecretStr | None = None

    def __post_init__(self) -> None:
        token = self.token.get_secret_value() if self.token else ""
        for name, value in (("API key", self.key or ""), ("token", token)):
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"the {name} must be printable ASCII", code=Code.SETTING_WRONG
                )

    @property
    def sign(self) -> bool:
        """Whether requests are signed."""
        return bool(self.key and self.secret)

    def headers(self, query: Mapping[str, str], body: bytes, timestamp: int) -> dict[str, str]:
        """The headers that authenticate a request; ``timestamp`` is in Unix seconds."""
        if self.key and self.secret:
            secret = self.secret.get_secret_value()
            return signature_headers(self.key, secret, query, body, timestamp)
        if self.token:
            return {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        return {}

    def secrets(self, headers: Mapping[str, str]) -> list[str]:
        """What must not be printed, even where the server says it, of a request so signed."""
        own = [secret.get_secret_value() for secret in (self.secret, self.token) if secret]
        return [*own, headers["D-SIGNATURE"]] if self.sign else own


NO_CREDENTIALS = Credentials()
