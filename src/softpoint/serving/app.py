"""The HTTP service as an ASGI application: paths, limits, metrics and errors."""

# FastAPI evaluates the annotations of the functions in create_app, whose names are imported there: this module must
# not have `from __future__ import annotations`.

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import numpy as np

from softpoint import __version__
from softpoint.paths import without_nan
from softpoint.runtime import Model
from softpoint.serving.batcher import Batcher
from softpoint.serving.schemas import FORMATS, RequestError, decode, header_size, parse_boxes, to_response
from softpoint.serving.settings import Settings
from softpoint.suggest import did_you_mean

PATHS = ("/predict", "/health", "/metrics", "/model")

_DRAIN_S = 2
_BODY = {"content": {f"image/{name.lower()}": {"schema": {"type": "string", "format": "binary"}} for name in FORMATS}}
_BOX = "LEFT,TOP,RIGHT,BOTTOM of a subject in pixels, repeated per subject; for models trained on crops"

_log = logging.getLogger(__name__)


class Service:
    """Predictions of one exported model within limits; `requests` and `pixels` count what is in progress."""

    def __init__(self, model: Model, settings: Settings) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.model, self.settings, self.registry = model, settings, CollectorRegistry()
        self.requests, self.pixels = 0, 0
        labels, registry = ["path", "status"], self.registry
        self.answered = Counter("softpoint_requests", "answered requests", labels, registry=registry)
        self.seconds = Histogram("softpoint_predict_seconds", "seconds per POST /predict", registry=registry)
        sizes = [1, 2, 4, 8, 16, 32, 64]
        self.batches = Histogram("softpoint_batch_images", "images per batch", registry=registry, buckets=sizes)
        limit = settings.max_pixels
        self.batcher = Batcher(model, settings.batch_size, settings.wait_ms, limit, self.batches.observe)
        waiting = Gauge("softpoint_queue_images", "images waiting for a batch", registry=registry)
        waiting.set_function(lambda: self.batcher.queue.qsize())
        in_progress = Gauge("softpoint_requests_in_progress", "predictions in progress", registry=registry)
        in_progress.set_function(lambda: self.requests)
        self._decoders = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "decoder")

    def warm_up(self) -> None:
        """Make one prediction; raise ValueError for a model that fails, before the first request."""
        try:
            self.model(np.zeros((*(self.model.fixed_size or self.model.metadata["size"]), 3), np.uint8))
        except Exception as error:  # onnxruntime has an exception class per kind of fault
            raise ValueError(f"{self.model.path} cannot predict: {error}; export it again") from error

    async def stop(self) -> None:
        """Finish the requests in progress."""
        await self.batcher.stop()
        self._decoders.shutdown(cancel_futures=True)

    async def predict(self, chunks: AsyncIterator[bytes], length: str, boxes: Sequence[str]) -> dict[str, Any]:
        """Return the response to POST /predict, whose body has the stated length; raise RequestError to refuse it."""
        body, limit = None, f"timeout_s={self.settings.timeout_s:g}"
        try:
            if not self.batcher.running:
                raise RequestError(503, "the server is stopping; try again")
            regions = parse_boxes(boxes, self.settings.max_boxes)
            if regions is not None and self.model.metadata["crops"] is None:
                name = self.model.path.name
                raise RequestError(422, f"{name} was trained on whole images and takes no box; leave box out")
            with self._reserved("requests", 1, self.settings.queue_size, "queue_size"):
                async with asyncio.timeout(self.settings.timeout_s):
                    body = await _receive(chunks, length, self.settings.max_bytes)
                    return await self._predict_body(body, regions)
        except TimeoutError as error:
            if body is None:
                message = f"the body did not arrive within {limit}; send a smaller image"
                raise RequestError(408, message) from error
            message = f"the prediction was not ready within {limit}; try again, or send fewer requests at once"
            raise RequestError(504, message) from error
        except RequestError:
            await _drain(chunks, self.settings.max_bytes)
            raise

    @contextmanager
    def _reserved(self, counter: str, amount: int, limit: int, setting: str) -> Iterator[None]:
        """Hold an amount of requests or pixels; raise RequestError 503 beyond the limit."""
        used = getattr(self, counter)
        if used + amount > limit:
            message = f"{used} {counter} are in progress, and {setting}={limit} does not allow {amount} more; try again"
            raise RequestError(503, message)
        setattr(self, counter, used + amount)
        try:
            yield
        finally:
            setattr(self, counter, getattr(self, counter) - amount)

    async def _predict_body(self, body: bytes, boxes: np.ndarray | None) -> dict[str, Any]:
        """Read the header, decode and predict, each outside the event loop."""
        run, settings, path = asyncio.get_running_loop().run_in_executor, self.settings, self.model.path
        size = await run(self._decoders, header_size, body, settings.exif, settings.max_pixels)
        with self._reserved("pixels", size[0] * size[1], settings.queue_pixels, "queue_pixels"):
            image = await run(self._decoders, decode, body, settings.exif, settings.max_pixels)
            try:
                rows = await self.batcher.predict(image, boxes)
            except ValueError as error:
                raise RequestError(422, str(error).replace(str(path), path.name)) from error
            except Exception as error:
                _log.exception("%s failed on an image of %s", path, image.shape)
                raise RequestError(500, f"the model failed on an image of {size}; see the server's log") from error
        return to_response(self.model.names, size, boxes, rows)


async def _receive(chunks: AsyncIterator[bytes], length: str, max_bytes: int) -> bytes:
    """Return the body; raise RequestError 413 as soon as its stated or actual length is too large."""
    too_large = RequestError(413, f"the body has more than max_bytes={max_bytes}; send a smaller image")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


async def _drain(chunks: AsyncIterator[bytes], max_bytes: int) -> None:
    """Receive the rest of a body within limits: a client that is still sending would not see the error otherwise."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            async for chunk in chunks:
                if (max_bytes := max_bytes - len(chunk)) < 0:
                    return


def create_app(service: Service) -> Any:
    """Return the FastAPI application, to be run by any ASGI server with a lifespan."""
    from fastapi import FastAPI, Query, Request
    from fastapi.responses import JSONResponse, Response
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await service.stop()

    # FastAPI's pages of documentation would load scripts from other sites; /openapi.json stays.
    app = FastAPI(title="softpoint", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post("/predict", openapi_extra={"requestBody": _BODY})
    async def predict(request: Request, box: list[str] = Query((), description=_BOX)) -> JSONResponse:  # noqa: B008
        """Keypoints of the image in the body."""
        if unknown := sorted(set(request.query_params) - {"box"}):
            message = f"unknown query parameter {unknown[0][:100]!r}; {did_you_mean(unknown[0][:100], ['box'])}"
            raise RequestError(422, message)
        length = request.headers.get("content-length", "")
        return JSONResponse(await service.predict(request.stream(), length, box))

    @app.get("/health")
    async def health() -> JSONResponse:
        """Status 200 while predictions are made, 503 before and after."""
        ready = service.batcher.running
        status = {"status": "ready" if ready else "not ready", "model": service.model.path.name}
        return JSONResponse(status, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters and histograms for Prometheus."""
        return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/model")
    async def model() -> JSONResponse:
        """Metadata of the exported file; a number that JSON cannot express is null."""
        return JSONResponse(without_nan(service.model.metadata))

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path[:100]}: {error.detail}; there are POST /predict and GET "
        return JSONResponse({"error": message + ", ".join(PATHS[1:])}, error.status_code, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def disconnected(_: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({"error": "the connection ended before the body did"}, 400)

    @app.middleware("http")
    async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        status, start = 500, time.perf_counter()
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            path = request.url.path if request.url.path in PATHS else "other"
            service.answered.labels(path, status).inc()
            if path == "/predict":
                service.seconds.observe(time.perf_counter() - start)

    return app
