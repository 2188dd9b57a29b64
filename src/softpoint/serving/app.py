"""The service as an ASGI application: which path gives what."""

# FastAPI reads the annotations of the functions below, which name classes imported where they stand: they must not
# become text, as `from __future__ import annotations` makes them.

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from softpoint import __version__
from softpoint.serving.errors import Refusal
from softpoint.serving.images import FORMATS
from softpoint.serving.service import Service

PATHS = ("/predict", "/health", "/metrics", "/model")

_BODY = {"content": {f"image/{name.lower()}": {"schema": {"type": "string", "format": "binary"}} for name in FORMATS}}
_BOX = {
    "name": "box",
    "in": "query",
    "description": "LEFT,TOP,RIGHT,BOTTOM of a subject in pixels, once a subject; for models trained on crops",
    "schema": {"type": "array", "items": {"type": "string"}},
}


def create_app(service: Service) -> Any:
    """The application, to be run by any ASGI server with a lifespan; ImportError where FastAPI is missing."""
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse, PlainTextResponse

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    # Its pages of documentation would load scripts from elsewhere; /openapi.json stays.
    app = FastAPI(title="softpoint", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/predict", openapi_extra={"requestBody": _BODY, "parameters": [_BOX]})
    async def predict(request: Request) -> JSONResponse:
        """Keypoints of the image in the body."""
        query = request.query_params.multi_items()
        return JSONResponse(await service.predict(request.stream(), request.headers, query))

    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether predictions are made now."""
        status, content = service.health()
        return JSONResponse(content, status)

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        """Numbers for Prometheus."""
        return PlainTextResponse(service.counts.text(), media_type="text/plain; version=0.0.4")

    @app.get("/model")
    async def model() -> JSONResponse:
        """What the exported file says of itself."""
        return JSONResponse(service.described())

    _explain_errors(app)
    app.add_middleware(Counted, counts=service.counts)
    return app


def _explain_errors(app: Any) -> None:
    """Every error is {"error": "what went wrong, and the way out"}."""
    from fastapi import Request
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Refusal)
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    async def no_such(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path[:100]}: {error.detail}; there are POST /predict and GET "
        return JSONResponse({"error": message + ", ".join(PATHS[1:])}, error.status_code, error.headers)

    async def gone(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the connection ended before the body did"}, 400)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(HTTPException, no_such)
    app.add_exception_handler(ClientDisconnect, gone)


class Counted:
    """ASGI middleware that tells the counts how each request ended, and how long it took."""

    def __init__(self, app: Callable[..., Awaitable[None]], counts: Any) -> None:
        self.app, self.counts = app, counts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Passes everything on, and looks at the status on its way."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status, start = 500, time.perf_counter()

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            path = scope["path"] if scope["path"] in PATHS else "other"
            self.counts.answered(path, status, time.perf_counter() - start)
        return None
