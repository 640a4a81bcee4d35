"""What is served where: the calls of PROTOCOL.md, part 2, and what operators ask for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plugin_framework.engines.local import LocalEngine
from plugin_framework.errors import (
    DatahubError,
    InvalidConfigError,
    JournalDamagedError,
    JournalError,
)
from plugin_framework.protocol.models import TaskStatus
from plugin_framework.service.admission import Admission, Call, check_form
from plugin_framework.service.answers import (
    BUSINESS_ERROR,
    Refused,
    envelope,
    failed,
    gone,
    not_found,
    refused,
)
from plugin_framework.service.backlog import Backlog
from plugin_framework.service.changes import Submission
from plugin_framework.service.checks import Checks
from plugin_framework.service.form import ScriptShape, config_script
from plugin_framework.service.messages import CreateTask, ManageTask, Payment, read
from plugin_framework.service.metrics import Metrics
from plugin_framework.service.openapi import document
from plugin_framework.service.request_log import RequestLog
from plugin_framework.service.running import Outlook

PAYMENT_SECONDS = 30.0
"""How long a plugin may think about a payment."""

PAYMENTS_AT_ONCE = 16
"""Each has a thread here, and a process where the plugin runs in processes."""

MOST_PROBLEMS = 50
"""What is said of one config that is wrong."""

LONGEST_PROBLEM = 500
"""Characters of each; a plugin's own validator may write as much as it likes."""

# A page of another site may read it, as it must to import a module: there is no secret in it.
_SCRIPT_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
    "access-control-allow-origin": "*",
}

Handler = Callable[[Request, Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Served:
    """A plugin that is served; ``name`` is what it is called in requests."""

    name: str
    version: str
    takes_payments: bool
    engine: LocalEngine
    checks: Checks
    schema: dict[str, Any]

    @classmethod
    def of(cls, engine: LocalEngine) -> Served:
        """The plugin of an engine, once it is imported."""
        takes_payments = "on_payment" in engine.hooks
        checks = Checks(engine)
        return cls(engine.ref.name, engine.version, takes_payments, engine, checks, engine.schema())


class Service:
    """The calls, answered for the plugins that are served."""

    def __init__(
        self,
        plugins: Mapping[str, Served],
        backlog: Backlog,
        admission: Admission,
        metrics: Metrics | None,
        *,
        outlook: Callable[[], Outlook | None],
    ) -> None:
        self._outlook = outlook
        self._plugins = plugins
        self._backlog = backlog
        self._admission = admission
        self._metrics = metrics
        self._began = time.monotonic()
        self._paying = 0
        self._payers = ThreadPoolExecutor(PAYMENTS_AT_ONCE, thread_name_prefix="payment")
        self._scripts: dict[tuple[str, str], str] = {}
        self._document: dict[str, Any] = {}

    def app(self, *, request_log: bool) -> Starlette:
        """The ASGI application; ``request_log``: write a line for each request."""
        routes = [route for prefix in ("", "/{plugin}") for route in self._calls(prefix)]
        routes += [
            _get("/live", self._live),
            _get("/ready", self._ready),
            _get("/openapi.json", self._openapi),
        ]
        middleware = []
        if self._metrics is not None:
            routes.append(_get("/metrics", self._show_metrics))
        if self._metrics is not None or request_log:
            middleware.append(Middleware(RequestLog, metrics=self._metrics, lines=request_log))
        app = Starlette(
            routes=routes,
            middleware=middleware,
            exception_handlers={
                Refused: refused,
                HTTPException: not_found,
                ClientDisconnect: gone,
                Exception: failed,
            },
        )
        app.router.redirect_slashes = False
        return app

    def _calls(self, prefix: str) -> list[Route]:
        api = f"{prefix}/api/plugin"
        calls = [
            self._route(f"{api}/create_task", "POST", self._create_task),
            self._route(f"{api}/manage_task", "POST", self._manage_task),
            self._route(f"{api}/health", "GET", self._health),
            _get(f"{prefix}/config.js", self._config_script),
        ]
        if any(served.takes_payments for served in self._plugins.values()):
            calls.append(self._route(f"{api}/payment", "POST", self._payment))
        return calls

    def _route(self, path: str, method: str, handle: Handler) -> Route:
        async def endpoint(request: Request) -> Response:
            call = await self._admission.admit(request)
            try:
                check_form(request, call)
                return await handle(request, call)
            except Exception:
                await self._remember(call)
                raise

        return _only(Route(path, endpoint, methods=[method]), method)

    async def _remember(self, call: Call) -> None:
        """Have on disk that a call was taken: what was refused may not be sent again, either."""
        if call.number is not None:
            await _kept(self._backlog.remember(call.number))

    # The calls

    async def _create_task(self, request: Request, call: Call) -> Response:
        message = read(CreateTask, call.body)
        _note(request, message.subtask_id)
        served = self._plugin(request, message.plugin)
        text = json.dumps(message.config, sort_keys=True)
        try:
            await served.checks.check(message.config, text)
        except InvalidConfigError as error:
            problems = [_dotted(line) for line in error.problems[:MOST_PROBLEMS]]
            raise Refused(400, "; ".join(problems), problems=problems) from None
        except (DatahubError, OSError) as error:
            raise Refused(
                503, f"the config cannot be validated now: {error}", api_code=500
            ) from None
        submission = Submission(message.subtask_id, message.task_id, served.name, text, call.number)
        return _answer_addition(await _kept(self._backlog.add(submission)))

    async def _manage_task(self, request: Request, call: Call) -> Response:
        message = read(ManageTask, call.body)
        _note(request, message.subtask_id)
        named = message.plugin or request.path_params.get("plugin")
        plugin = self._plugin(request, message.plugin).name if named else None
        await _kept(
            self._backlog.manage(
                message.subtask_id, TaskStatus(message.status), plugin=plugin, call=call.number
            )
        )
        return envelope()

    async def _health(self, request: Request, call: Call) -> Response:
        if call.number is not None:
            self._backlog.remember(call.number)  # nobody waits for the disk
        named = call.query.get("plugin") or request.path_params.get("plugin")
        plugins = self._plugins.values()
        asked = [self._plugin(request, call.query.get("plugin"))] if named else list(plugins)
        facts = [self._facts(served) for served in asked]
        more: dict[str, Any] = {"plugins": facts} if len(facts) > 1 else {}
        outlook = self._outlook()
        if outlook is not None:
            more["cluster"] = outlook.facts()
        status = "draining" if self._backlog.draining else "healthy"
        return envelope(status=status, plugin=facts[0], **more)

    async def _payment(self, request: Request, call: Call) -> Response:
        message = read(Payment, call.body)
        _note(request, message.subtask_id)
        served = self._plugin(request, message.plugin)
        if not served.takes_payments:
            raise Refused(404, f"plugin {served.name} takes no payments")
        if self._paying >= PAYMENTS_AT_ONCE:
            raise Refused(503, "busy", api_code=BUSINESS_ERROR, headers={"retry-after": "5"})
        self._paying += 1
        try:
            await self._remember(call)
            accepted = await self._ask_to_accept(served, message)
        finally:
            self._paying -= 1
        if not accepted:
            raise Refused(200, "the plugin does not accept the payment", api_code=BUSINESS_ERROR)
        return envelope()

    async def _ask_to_accept(self, served: Served, message: Payment) -> bool:
        ask = partial(
            served.engine.payment, message.tx_hash, message.subtask_id, seconds=PAYMENT_SECONDS
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(self._payers, ask)
        except DatahubError as error:
            raise Refused(500, str(error)) from None

    def _plugin(self, request: Request, given: str | None) -> Served:
        """The plugin that a request is for."""
        prefix = request.path_params.get("plugin")
        if prefix is not None and given not in {None, prefix}:
            raise Refused(400, "plugin: not the one in the path", problems=["plugin: mismatch"])
        name = prefix or given
        if name is None and len(self._plugins) == 1:
            return next(iter(self._plugins.values()))
        if name is None:
            names = ", ".join(self._plugins)
            line = f"plugin: one of {names} must be named"
            raise Refused(400, line, problems=[line])
        if name not in self._plugins:
            raise Refused(404, f"no plugin {name} is served here")
        return self._plugins[name]

    def _facts(self, served: Served) -> dict[str, Any]:
        return {
            "uptime": int(time.monotonic() - self._began),
            "version": served.version,
            "plugin_id": served.name,
        }

    # What operators and pages ask for

    async def _live(self, _request: Request) -> Response:
        # A journal that will not mend itself needs another start, which puts it aside.
        live = not isinstance(self._backlog.problem, JournalDamagedError)
        return JSONResponse({"live": live}, 200 if live else 503)

    async def _ready(self, _request: Request) -> Response:
        ready = not self._backlog.draining and self._backlog.problem is None
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def _config_script(self, request: Request) -> Response:
        served = self._plugin(request, request.query_params.get("plugin"))
        shape = request.query_params.get("shape", "script")
        script = self._scripts.get((served.name, shape))
        if script is None:
            try:
                script = config_script(
                    served.schema, name=served.name, shape=cast("ScriptShape", shape)
                )
            except ValueError as error:
                raise Refused(400, str(error)) from None
            self._scripts[served.name, shape] = script
        return Response(script, media_type="text/javascript", headers=_SCRIPT_HEADERS)

    async def _openapi(self, _request: Request) -> Response:
        if not self._document:
            plugins = {name: served.schema for name, served in self._plugins.items()}
            payments = any(served.takes_payments for served in self._plugins.values())
            self._document = document(plugins, payments=payments)
        return JSONResponse(self._document)

    async def _show_metrics(self, _request: Request) -> Response:
        assert self._metrics is not None
        counts, outlook = self._backlog.counts(), self._outlook()
        # In a thread: it asks the journal, which may be at the disk.
        text = await asyncio.to_thread(self._metrics.text, counts, outlook)
        return Response(text, media_type=self._metrics.media_type)


def _get(path: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    return _only(Route(path, endpoint, methods=["GET"]), "GET")


def _only(route: Route, method: str) -> Route:
    # Starlette would add HEAD, which the protocol does not have.
    route.methods = {method}
    return route


async def _kept(change: Any) -> Any:
    try:
        return await asyncio.wrap_future(change)
    except JournalError:
        raise Refused(503, "the journal cannot be written; try again", api_code=500) from None


def _answer_addition(answer: str) -> Response:
    if answer == "busy":
        raise Refused(503, "busy", api_code=BUSINESS_ERROR, headers={"retry-after": "5"})
    if answer == "draining":
        raise Refused(503, "the service is shutting down", api_code=BUSINESS_ERROR)
    return envelope()


def _dotted(line: str) -> str:
    """A problem's line as ``config.field: what is wrong``."""
    place, colon, message = line.partition(": ")
    dotted = f"{place.replace(' as a whole', '').replace(' ', '.', 1)}{colon}{message}"
    return dotted if len(dotted) <= LONGEST_PROBLEM else f"{dotted[:LONGEST_PROBLEM]}..."


def _note(request: Request, subtask_id: str) -> None:
    """Have the subtask in the log of requests."""
    request.scope["subtask_id"] = subtask_id
