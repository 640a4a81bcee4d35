"""Secrets out of files, as container platforms mount them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from plugin_framework.settings.values import absolute, accepts, default_secrets_dir, variable_of


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """Stands in for a secret, so that validation counts it among the other problems."""

    path: Path
    reason: str


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets out of files named after their variables; all that is wrong is left to validation."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the field's file, None where there is none."""
        path = self._files().get(variable_of(field_name)) if accepts(field).secret else None
        if path is None:
            return None, field_name, False
        try:
            return path.read_text("utf-8").strip(), field_name, False
        except (OSError, UnicodeError) as error:
            return UnreadableFile(path, reason_of(error)), field_name, False

    def _files(self) -> dict[str, Path]:
        folder = self.current_state.get("secrets_dir") or default_secrets_dir()
        try:
            entries = sorted(absolute(Path(folder)).iterdir()) if folder else []
        except (OSError, ValueError, TypeError):
            return {}  # the validation of secrets_dir says what is wrong with it
        return {path.name.upper(): path for path in entries}

    def __call__(self) -> dict[str, Any]:
        """The secrets that were found, by field."""
        found = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in found.items() if value}


def reason_of(error: OSError | UnicodeError) -> str:
    """Why a file cannot be read, without its content, which a UnicodeError quotes."""
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "it is not UTF-8"
