"""Serve an exported model over HTTP: softpoint serve model=FILE.onnx port=8000"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> None:
    """Load the model and answer requests until the process is stopped."""
    from softpoint.extras import require
    from softpoint.runtime import load

    if cfg.model_file is None:
        raise ValueError("model has no value; add to the command line: model=FILE.onnx, which softpoint export writes")
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        require(library, "serve", "serving")
    from pydantic import ValidationError

    from softpoint.serving.app import DRAIN_S, Service, create_app
    from softpoint.serving.connections import Limits
    from softpoint.serving.server import address_of, listen, serve
    from softpoint.serving.settings import Settings

    try:
        values = OmegaConf.to_container(cfg)
        assert isinstance(values, dict)
        settings = Settings(**{name: values[name] for name in Settings.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{key}={first['input']}: " for key in first["loc"])
        raise ValueError(where + first["msg"].removeprefix("Value error, ")) from error
    service = Service(load(cfg.model_file, cfg.threads, cfg.providers, cfg.subject_threshold), settings)
    service.warm_up()
    for fault in service.model.metadata["faults"] if cfg.warn else ():
        _log.warning("%s: %s", cfg.model_file, "".join(filter(str.isprintable, fault[:600])))
    with listen(cfg.host, cfg.port) as listening:
        address = address_of(listening)
        print(f"{cfg.model_file} answers POST {address}/predict; a page to try it is at {address}/", flush=True)
        limits = Limits(settings.max_connections, settings.header_s, settings.body_s + DRAIN_S)
        serve(create_app(service), listening, cfg.grace_s, cfg.access_log, limits)


def arguments(words: Sequence[str]) -> list[str]:
    """Return the command line for Hydra, in whose config `model` is the group of networks and not a file.

    >>> arguments(["model=a.onnx", "port=8000"])
    ['model_file=a.onnx', 'port=8000']
    """
    return [f"model_file={word.removeprefix('model=')}" if word.startswith("model=") else word for word in words]
