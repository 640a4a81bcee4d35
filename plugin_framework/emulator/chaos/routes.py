"""Rules over HTTP: what is in force, and what is to be."""

from __future__ import annotations

import json
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from plugin_framework.emulator.chaos.engine import Chaos
from plugin_framework.errors import Code, ConfigurationError

PATH: Final = "/local/chaos"
BODY_LIMIT: Final = 1024 * 1024


def routes(chaos: Chaos) -> list[Route]:
    """``GET`` says what is in force, what came of it, and what could be; ``PUT`` and ``DELETE``.

    ``PUT`` takes what a JSON file holds; with ``?keep=true`` rules that stay as they were go on
    counting. What is wrong with it is answered 400, with a line for each mistake in ``problems``.
    """

    async def get(_request: Request) -> Response:
        return _answer(await run_in_threadpool(_described, chaos))

    async def put(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_LIMIT:
                return _refused(413, [f"expected at most {BODY_LIMIT} bytes"])
        keep = request.query_params.get("keep") == "true"
        try:
            await run_in_threadpool(_set, chaos, bytes(body), keep=keep)
        except ConfigurationError as error:
            return _refused(400, list(error.problems))
        return _answer(chaos.as_json())

    async def delete(_request: Request) -> Response:
        chaos.clear()
        return _answer(chaos.as_json())

    return [
        Route(PATH, get, methods=["GET"]),
        Route(PATH, put, methods=["PUT"]),
        Route(PATH, delete, methods=["DELETE"]),
    ]


def _answer(content: object, status: int = 200) -> Response:
    return JSONResponse(content, status, {"Cache-Control": "no-store"})


def _described(chaos: Chaos) -> dict[str, object]:
    from plugin_framework.emulator.chaos.described import described  # noqa: PLC0415 - loaded late
    from plugin_framework.emulator.chaos.presets import PRESETS  # noqa: PLC0415 - loaded late

    return {**chaos.as_json(), "presets": PRESETS, **described()}


def _set(chaos: Chaos, body: bytes, *, keep: bool) -> None:
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise ConfigurationError(
            "expected a JSON object with seed and rules", code=Code.FAULTS_WRONG
        ) from None
    chaos.set(given, keep=keep)


def _refused(status: int, problems: list[str]) -> Response:
    return _answer({"error": problems[0], "problems": problems}, status)
