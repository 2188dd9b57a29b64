"""An exported model behind HTTP: paths, limits, metrics and errors, as a FastAPI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi import Query as FromQuery
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from softpoint import __version__
from softpoint.images.channels import are_bands
from softpoint.images.read_options import ReadOptions
from softpoint.paths import without_nan
from softpoint.runtime import Model
from softpoint.serving.batcher import Batcher
from softpoint.serving.bodies import Room, chunks
from softpoint.serving.decoders import Decoders
from softpoint.serving.line import Line
from softpoint.serving.page import page
from softpoint.serving.schemas import ANSWER, BODY, Query, subjects_response, to_response
from softpoint.serving.settings import Settings

PATHS = ("/predict", "/health", "/metrics", "/model", "/")

DRAIN_S = 2  # seconds that a body is read on after an error, for a client that sends it all before it reads
_log = logging.getLogger(__name__)


class Service:
    """Predictions of one exported model within limits."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.model, self.settings = model, settings
        self.room = Room(settings)
        self.registry = registry = CollectorRegistry()
        self.answered = Counter("softpoint_requests", "answered requests", ["path", "status"], registry=registry)
        self.seconds = Histogram("softpoint_predict_seconds", "seconds per POST /predict", registry=registry)
        sizes = [1, 2, 4, 8, 16, 32, 64]
        batches = Histogram("softpoint_batch_images", "images per batch", registry=registry, buckets=sizes)
        self.batcher = Batcher(model, settings.batch_size, settings.wait_ms, settings.max_pixels, batches.observe)
        bits, channels = settings.bits or model.metadata.get("bits"), model.metadata["channels"]
        options = ReadOptions(settings.exif, settings.max_pixels, bits, channels)
        count = settings.decoder_count
        self.headers = Decoders(options, min(1, count), settings.decode_s)  # which waits for no image
        self.decoders = Decoders(options, count, settings.decode_s)
        self.line = Line(settings.queue_size, settings.queue_pixels, settings.max_pixels, count or 4)
        for name, description, value in (
            ("softpoint_queue_images", "images waiting for a batch", self.batcher.queue.qsize),
            ("softpoint_requests_in_progress", "predictions in progress", lambda: self.line.requests),
        ):
            Gauge(name, description, registry=registry).set_function(value)

    def warm_up(self) -> None:
        """Make one prediction; raise ValueError for a model that fails, before the first request."""
        try:
            size = self.model.fixed_size or self.model.metadata["size"]
            every = {"threshold": 0.0} if self.model.finds_subjects else {}  # so that some subject is read
            self.model(np.zeros((*size, self.model.channels), np.uint8), **every)
        except Exception as error:  # onnxruntime has an exception class per kind of fault
            raise ValueError(f"{self.model.path} cannot predict: {error}; export it again") from error

    async def decode(self, body: bytes | bytearray, held: AsyncExitStack) -> np.ndarray:
        """Return the pixels of an image when it is its turn; `held` keeps its place."""
        async with self.headers.borrowed() as decoder:
            height, width = await decoder.size(body)
        place = await held.enter_async_context(self.line.place(height * width))
        try:
            async with self.decoders.borrowed() as decoder:
                await decoder.size(body)
                return await decoder.pixels()
        finally:
            self.line.decoded(place)

    async def predict(self, image: np.ndarray, boxes: np.ndarray | None) -> dict[str, Any]:
        """Return the response to an image."""
        path, size = self.model.path, image.shape[:2]
        try:
            rows = await self.batcher.predict(image, boxes)
        except ValueError as error:
            raise HTTPException(422, str(error).replace(str(path), path.name)) from error
        except Exception as error:
            _log.exception("%s failed on an image of %s", path, image.shape)
            raise HTTPException(500, f"the model failed on an image of {size}; see the server's log") from error
        regions = {f"region_{100 * level:.0f}": level for level in self.model.region_levels}
        rows = [{**row} | {name: self.model.regions(row, level) for name, level in regions.items()} for row in rows]
        if self.model.metadata["homography"] is not None:
            rows = [{**row, "millimeters": self.model.millimeters(row)[0]} for row in rows]
        if self.model.finds_subjects:
            return subjects_response(self.model.names, size, rows[0])
        return to_response(self.model.names, size, boxes, rows)


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(_service)]
router = APIRouter()


@router.post("/predict", openapi_extra={"requestBody": BODY, "responses": ANSWER})
async def predict(request: Request, service: TheService, query: Annotated[Query, FromQuery()]) -> JSONResponse:
    """Keypoints of the image in the body."""
    settings, boxes = service.settings, query.boxes()
    if not service.batcher.running:
        raise HTTPException(503, "the server is stopping; try again")
    if len(query.box) > settings.max_boxes:
        message = f"{len(query.box)} boxes are more than max_boxes={settings.max_boxes}; send several requests"
        raise HTTPException(413, message)
    if query.box and (service.model.finds_subjects or service.model.metadata["crops"] is None):
        reason = "finds the subjects itself" if service.model.finds_subjects else "was trained on whole images"
        raise HTTPException(422, f"{service.model.path.name} {reason} and takes no box; leave box out")
    try:
        async with asyncio.timeout(None) as limit:
            async with AsyncExitStack() as held:
                async with service.room.received(request) as body:
                    limit.reschedule(asyncio.get_running_loop().time() + settings.timeout_s)
                    image = await service.decode(body, held)
                    del body
                return JSONResponse(await service.predict(image, boxes))
    except TimeoutError as error:
        message = f"the prediction was not ready within timeout_s={settings.timeout_s:g}"
        raise HTTPException(504, f"{message}; try again, or send fewer requests at once") from error


@router.get("/health")
async def health(service: TheService) -> JSONResponse:
    """Status 200 while predictions are made, 503 before and after."""
    ready = service.batcher.running
    status = {"status": "ready" if ready else "not ready", "model": service.model.path.name}
    return JSONResponse(status, 200 if ready else 503)


@router.get("/metrics")
async def metrics(service: TheService) -> Response:
    """Counters and histograms for Prometheus."""
    return Response(generate_latest(service.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/model")
async def model(service: TheService) -> JSONResponse:
    """Metadata of the exported file; a number that JSON cannot express is null."""
    return JSONResponse(without_nan(service.model.metadata))


@router.get("/", include_in_schema=False)
async def front(service: TheService) -> HTMLResponse:
    """A page on which a person tries the model."""
    html, headers = page(len(service.model.names), are_bands(service.decoders.options.channels))
    return HTMLResponse(html, headers=headers)


async def explain(request: Request, error: Exception) -> JSONResponse:
    """Return the response to a request that was refused: {"error": message}."""
    is_late = isinstance(error, StarletteHTTPException) and error.status_code == 408
    with suppress(TimeoutError, HTTPException, ClientDisconnect, RuntimeError):  # the last where all was received
        # A client that is still sending would not see the error otherwise.
        async with asyncio.timeout(0 if is_late else DRAIN_S):
            async for _ in chunks(request, _service(request).settings.max_bytes, stated=False):
                pass
    if isinstance(error, RequestValidationError):
        unknown = error.errors()[0]["loc"][-1]
        message = f"unknown query parameter {str(unknown)[:100]!r}; the only one is box=LEFT,TOP,RIGHT,BOTTOM"
        return JSONResponse({"error": message}, 422)
    if isinstance(error, ClientDisconnect):
        return JSONResponse({"error": "the connection ended before the body did"}, 400)
    assert isinstance(error, StarletteHTTPException)
    message, headers = error.detail, {"Retry-After": "1"} if error.status_code == 503 else error.headers
    if not isinstance(error, HTTPException):  # of the router: there is no such path or method
        message = f"{request.method} {request.url.path[:100]}: {message}; there are POST /predict and GET "
        message += ", ".join(PATHS[1:])
    return JSONResponse({"error": message}, error.status_code, headers)


async def count(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Return the response to any request, and count it."""
    service, path, status, start = _service(request), request.url.path, 500, time.perf_counter()
    try:
        response = await call_next(request)
        status = response.status_code
        return response
    finally:
        service.answered.labels(path if path in PATHS else "other", status).inc()
        if path == "/predict":
            service.seconds.observe(time.perf_counter() - start)


def create_app(service: Service) -> FastAPI:
    """Return the application, to be run by any ASGI server with a lifespan."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        for decoders in (service.headers, service.decoders):
            await decoders.start()
        yield
        for decoders in (service.headers, service.decoders):
            decoders.stop()
        await service.batcher.stop()  # finishes the requests in progress

    # FastAPI's pages of documentation would load scripts from other sites; /openapi.json stays.
    # A redirection of /predict/ would lead to whatever host the client names.
    app = FastAPI(
        title="softpoint", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    app.include_router(router)
    for kind in (RequestValidationError, StarletteHTTPException, ClientDisconnect):
        app.add_exception_handler(kind, explain)
    app.middleware("http")(count)
    if origins := service.settings.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["Content-Type"],
            expose_headers=["Retry-After"], allow_private_network="*" not in origins,
        )  # fmt: skip
    return app
