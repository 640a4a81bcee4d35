"""What all checks look at, and what none of them may say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote

from pydantic import SecretStr

from plugin_framework.cli.doctor.exchange import Exchange, ask
from plugin_framework.cli.doctor.reading import MASK, Reading
from plugin_framework.cli.timeline import plain
from plugin_framework.redaction import redacted
from plugin_framework.settings import Settings, secret_variables
from plugin_framework.settings.values import PREFIX, variable_of

_USER = re.compile(r"(?://|^)([^/\s]*)@")
_SHORTEST = 4
"""Characters. To blot out something shorter would tell more than it hides."""


@dataclass(frozen=True)
class Case:
    """The settings, and the plugins that were named."""

    reading: Reading
    names: Sequence[str] = ()

    @property
    def settings(self) -> Settings:
        """The settings, with the default of each that is wrong."""
        return self.reading.settings

    @cached_property
    def exchange(self) -> Exchange:
        """What came of asking Datahub, which is asked once."""
        return ask(self.settings)

    def fit_to_print(self, text: str) -> str:
        """One line, without what is known to be secret."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return redacted(" ".join(plain(text).split()))

    @cached_property
    def _secrets(self) -> list[str]:
        """The longest first, for one may be a part of another."""
        known = {one for one in self._values() if len(one) >= _SHORTEST}
        return sorted(known, key=len, reverse=True)

    def _values(self) -> Iterator[str]:
        """All that is secret, and the users and passwords of all that may be an address."""
        values = [text for name, text in self.reading.environ.items() if "proxy" in name.lower()]
        values += [
            value.get_secret_value()
            for name in type(self.settings).model_fields
            if isinstance(value := getattr(self.settings, name), SecretStr)
        ]
        for given in self.reading.given.values():
            values += [one.text for one in given]
        for user in [found for value in values for found in _USER.findall(value)]:
            _, _, password = user.partition(":")
            yield from (user, unquote(user), password, unquote(password))
        yield from self._secret_values()

    def _secret_values(self) -> Iterator[str]:
        # A proxy's address is no secret, but for the user in it; the findings name it.
        for variable in secret_variables() - {variable_of("proxy")}:
            yield from (one.text for one in self.reading.given.get(variable, ()))
            # As .env has it, it may be made of other variables.
            value = getattr(self.settings, variable.removeprefix(PREFIX).lower(), None)
            if isinstance(value, SecretStr):
                yield value.get_secret_value()
