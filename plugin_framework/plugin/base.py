"""What an author subclasses and returns."""

from __future__ import annotations

import difflib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, get_args, get_origin
from typing import TypeVar as TypeVarType

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python
from typing_extensions import TypeVar

from plugin_framework.errors import Code, InvalidConfigError, InvalidResultError
from plugin_framework.plugin.context import TaskContext
from plugin_framework.plugin.json_limits import DEPTH_LIMIT, place_of_fault, refuse_unreadable
from plugin_framework.protocol.models import TaskStatus

RESULT_LIMIT = 8 * 1024 * 1024
"""Bytes of JSON that a result may take, as it is sent: without white space."""


class PluginConfig(BaseModel):
    """A task's configuration, as a pydantic model: validates it and draws the form.

    Misspelt keys are refused; set ``model_config = ConfigDict(extra="ignore")`` to allow them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True
    )


class TaskResult(BaseModel):
    """A result: three counts, and any further JSON fields (PROTOCOL.md, 1.7)."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    total_counts: int = Field(default=0, ge=0)
    success_counts: int = Field(default=0, ge=0)
    failed_counts: int = Field(default=0, ge=0)

    if TYPE_CHECKING:  # else only pydantic's plugin for mypy knows that further fields are fine

        def __init__(
            self,
            *,
            total_counts: int = 0,
            success_counts: int = 0,
            failed_counts: int = 0,
            **fields: Any,
        ) -> None:
            """The counts, and any further fields."""

    @model_validator(mode="before")
    @classmethod
    def _no_misspelt_count(cls, given: Any) -> Any:
        counts = ("total_counts", "success_counts", "failed_counts")
        for name in given if isinstance(given, Mapping) else ():
            near = difflib.get_close_matches(str(name), counts, n=1, cutoff=0.85)
            if near and name not in counts:
                raise ValueError(f"{name} is no count; did you mean {near[0]}?")
        return given


HookResult: TypeAlias = Awaitable[None] | None
PaymentResult: TypeAlias = Awaitable[bool | None] | bool | None
ProcessResult: TypeAlias = TaskResult | Mapping[str, Any] | None


# The default makes a plain ``DatahubPlugin`` complete, also under the strictest type checker.
ConfigT = TypeVar("ConfigT", bound=BaseModel, default=Any)


class DatahubPlugin(Generic[ConfigT]):
    """Base of all plugins: write ``process``, and any other hook you need.

    ``DatahubPlugin[MyConfig]`` says of which type ``ctx.config`` is, to type checkers too; a class
    ``Config`` inside the plugin says so to the task alone. Every hook may be ``def`` or ``async
    def``. The first line of the class docstring is shown by ``datahub-plugin list``. The hooks'
    contracts are in ``plugin_framework.plugin.hookspecs``.

    Class attributes:
        Config: the type of a task's config; else the one in brackets.
        name: what ``run`` and ``serve`` call it; else the entry point's name.
        version: else the version of the distribution that installs it.
        isolation: ``process`` (default) or ``thread``; ``DATAHUB_ISOLATION`` overrides it.
        timeout_seconds: the whole task's; ``DATAHUB_TIMEOUT_SECONDS`` overrides it.
        pause_mode: ``checkpoint`` (default), where a pause takes hold at the next one, or
            ``freeze``, for work that comes to none: the process and all it started are stopped
            where they are (SIGSTOP), without ``on_pause`` and ``on_resume``. Connections of its
            own may break meanwhile. In a thread it is ``checkpoint``.
        resources: what one task needs, for engines: ``{"cpus": 1, "gpus": 0, "memory": "2GiB"}``.
    """

    Config: ClassVar[type[PluginConfig]] = PluginConfig
    name: ClassVar[str] = ""
    version: ClassVar[str] = ""
    isolation: ClassVar[Literal["process", "thread"] | None] = None
    timeout_seconds: ClassVar[float | None] = None
    pause_mode: ClassVar[Literal["checkpoint", "freeze"]] = "checkpoint"
    resources: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Take ``Config`` from the brackets."""
        super().__init_subclass__(**options)
        given = _bracketed(cls)
        if given is None or isinstance(given, TypeVarType) or given is Any:
            return
        if not (isinstance(given, type) and issubclass(given, BaseModel)):
            raise TypeError(
                f"{cls.__name__}: DatahubPlugin[...] takes a PluginConfig, not {given!r}"
            )
        if cls.__dict__.get("Config", given) is not given:
            raise TypeError(f"{cls.__name__}: its Config is given twice, in brackets and inside")
        cls.Config = given

    def on_start(self, ctx: TaskContext[ConfigT]) -> HookResult:
        """Prepare; a failure here fails the task."""

    def process(self, ctx: TaskContext[ConfigT]) -> ProcessResult | Awaitable[ProcessResult]:
        """Do the work and return its result. The one hook every plugin has."""
        raise NotImplementedError

    def on_pause(self, ctx: TaskContext[ConfigT]) -> HookResult:
        """A pause takes hold at this checkpoint."""

    def on_resume(self, ctx: TaskContext[ConfigT]) -> HookResult:
        """The task goes on."""

    def on_cancel(self, ctx: TaskContext[ConfigT]) -> HookResult:
        """Clean up after a cancel, within the grace period."""

    def on_success(
        self, ctx: TaskContext[ConfigT], result: TaskResult | Mapping[str, Any]
    ) -> HookResult:
        """The result is safe."""

    def on_failure(self, ctx: TaskContext[ConfigT], error: BaseException) -> HookResult:
        """The task has failed with ``error``."""

    def on_finish(self, ctx: TaskContext[ConfigT], status: TaskStatus) -> HookResult:
        """Called last, whatever happened."""

    def on_payment(self, tx_hash: str, subtask_id: str) -> PaymentResult:
        """Say whether a payment for a subtask is accepted. It belongs to no task."""


def _bracketed(plugin: type) -> Any:
    """What stands in brackets for the config's type, also where a base stands between; or None."""
    for base in plugin.__dict__.get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, DatahubPlugin):
            wanted = ConfigT if origin is DatahubPlugin else _bracketed(origin)
            return dict(zip(vars(origin)["__parameters__"], get_args(base), strict=True)).get(
                wanted
            )
    return None


def parse_config(plugin: type[DatahubPlugin], config: Mapping[str, Any]) -> PluginConfig:
    """Validate a task's config.

    Raises:
        InvalidConfigError: with one line for each field that is wrong.
    """
    try:
        return plugin.Config.model_validate(dict(config))
    except ValidationError as error:
        lines = [
            _problem(plugin.Config, found)
            for found in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise InvalidConfigError(lines) from None
    except BaseException as error:
        raise InvalidConfigError(
            f"config: its validation raised {_shown(error)}", code=Code.CONFIG_CHECK_FAILED
        ) from error


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - the author's own
        return type(error).__name__


def _problem(model: type[BaseModel], found: ErrorDetails) -> str:
    place = found["loc"]
    told = found["msg"]
    if found["type"] == "extra_forbidden":
        known = _keys_at(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        told = "there is no such key"
        if near:
            told += f"; did you mean {near[0]}?"
        elif known:
            told += f"; there is {', '.join(known)}"
    return f"config {'.'.join(map(str, place)) or 'as a whole'}: {told}"


def _keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys of the object at ``place``; none where it is not certain of which model it is."""
    for step in place:
        if isinstance(step, str):
            annotations = [one.annotation for one in _fields_called(model, step)]
            inner = {part for one in annotations for part in _models_in(one)}
            if len(inner) != 1:
                return []
            model = inner.pop()
    return [field.alias or name for name, field in model.model_fields.items()]


def _fields_called(model: type[BaseModel], key: str) -> list[FieldInfo]:
    return [field for name, field in model.model_fields.items() if key in {name, field.alias}]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def config_schema(plugin: type[DatahubPlugin]) -> dict[str, Any]:
    """The JSON Schema of a plugin's config; an empty one where it cannot be put as one."""
    try:
        schema = plugin.Config.model_json_schema()
        plain: dict[str, Any] = json.loads(json.dumps(schema, default=str))
    except BaseException:  # noqa: BLE001 - the author's own types, and whatever they raise
        return {}
    return plain


def result_json(returned: object) -> dict[str, Any]:
    """What ``process`` returned, as the JSON object that is sent.

    Raises:
        InvalidResultError: for another type, for NaN and infinities, for text that is not
            Unicode, for more than ``RESULT_LIMIT`` bytes, and for what is nested too deep.
    """
    if returned is None:
        returned = TaskResult()
    if isinstance(returned, TaskResult):
        # Not mode="json", which would turn NaN into null.
        fields = returned.model_dump(mode="python")
        return checked_json(
            fields, what="the result", limit=RESULT_LIMIT, default=to_jsonable_python
        )
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        raise InvalidResultError(f"process returned {kind}; return a TaskResult, a mapping or None")
    return checked_json(dict(returned), what="the result", limit=RESULT_LIMIT)


def checked_json(
    value: dict[str, Any], *, what: str, limit: int, default: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """A copy of ``value`` made of plain JSON, or InvalidResultError naming ``what``.

    ``default`` turns what is not JSON into what is, as of ``json.dumps``.
    """

    def write(part: Any) -> bytes:
        options: Any = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
        return json.dumps(part, default=default, **options).encode()

    try:
        text = write(value)
    except RecursionError:  # how deep the writer goes differs between versions of Python
        raise InvalidResultError(f"{what} is nested more than {DEPTH_LIMIT} deep") from None
    except (TypeError, ValueError) as error:
        place = place_of_fault(value, write, error)
        raise InvalidResultError(f"{what} is not JSON{place}: {error}") from None
    size = len(text)
    if size > limit:
        raise InvalidResultError(f"{what} takes {size} bytes of JSON; at most {limit} are allowed")
    refuse_unreadable(text.decode(), what)
    plain: dict[str, Any] = json.loads(text)
    return plain
