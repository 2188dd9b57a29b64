"""The page of the explorer as an application that any ASGI server runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gradio as gr
from fastapi import FastAPI
from fastapi.routing import Mount

from softpoint.explorer import attention_tab, softmax_tab
from softpoint.explorer.events import OneLineErrors
from softpoint.explorer.guard import KEPT_S, Guard
from softpoint.explorer.page import css, theme
from softpoint.explorer.uploads import MAX_BYTES, MAX_VIDEO_BYTES

if TYPE_CHECKING:
    from softpoint.explorer.data_tab import AuditedSet
    from softpoint.inference.predictor import Predictor

_SESSIONS = 32  # visitors whose uploads are kept in memory; the oldest are forgotten


def create_app(folder: Path, model: tuple[Predictor, str] | None = None, data: AuditedSet | None = None) -> FastAPI:
    """Return the application, which keeps uploads in `folder`; a `model` has a name.

    It loads nothing from other servers, sends nothing to them, and hands out no file. Before it ends,
    `state.end_streams` must be called, because a page that is open waits for news.
    """
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder), "gradio takes its folder from there when it is imported"
    tabs = {"Spatial softmax": softmax_tab.build, "Attention": attention_tab.build}
    if model is not None:  # whose imports take seconds
        from softpoint.explorer import model_tab

        tabs["Model"] = partial(model_tab.build, *model, data)
    if data is not None:
        from softpoint.explorer import data_tab
        from softpoint.explorer.errors import Measured

        tabs["Data"] = partial(data_tab.build, data, Measured(model[0], data.loaded) if model else None)
    largest = MAX_BYTES if model is None else MAX_VIDEO_BYTES
    page = build_page(tabs)
    page.state_session_capacity = _SESSIONS
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(
        app, page, "/", footer_links=[], run_history=False, allowed_paths=[], show_error=True, max_file_size=largest,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme(), css=css(),
    )  # fmt: skip
    page.has_launched = True  # which mounting leaves out, and without which gradio does not check the paths of files
    (mounted,) = (cast(Any, route.app) for route in app.routes if isinstance(route, Mount))
    mounted.router.redirect_slashes = False  # to whatever host a client names
    app.state.end_streams = mounted.stop_event.set
    app.add_middleware(Guard, folder=folder, max_bytes=largest)
    return app


def build_page(tabs: dict[str, Callable[[], None]]) -> gr.Blocks:
    """Return the page with a tab of each name, which its function fills."""
    page = OneLineErrors(analytics_enabled=False, title="softpoint", delete_cache=(60, KEPT_S))
    with page:
        gr.HTML("<h1>softpoint explorer</h1>", elem_classes="page-html")
        with gr.Tabs():
            for name, build in tabs.items():
                with gr.Tab(name):
                    build()
    return page
