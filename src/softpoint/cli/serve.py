"""Serves an exported model over HTTP: python scripts/serve.py model=FILE.onnx port=8000"""

from __future__ import annotations

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch


def main(cfg: DictConfig) -> None:
    """Answers POST /predict until it is stopped."""
    from dataclasses import fields

    from softpoint.runtime import load
    from softpoint.serving import Service, Settings, create_app, serve
    from softpoint.serving.server import listen, require_server

    if cfg.model_file is None:
        raise ValueError("model has no value; add to the command line: model=FILE.onnx, which scripts/export.py writes")
    require_server()
    settings = Settings(**{field.name: cfg[field.name] for field in fields(Settings)})
    service = Service(load(cfg.model_file, cfg.threads, cfg.providers), settings)
    service.warm_up()
    with listen(cfg.host, cfg.port) as listening:
        host, port = listening.getsockname()[:2]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"{cfg.model_file} answers POST http://{where}/predict", flush=True)
        serve(create_app(service), listening, cfg.grace_s, cfg.access_log)


def words(line: list[str]) -> list[str]:
    """The command line as Hydra reads it, to whom `model` is a network's config and no file.

    >>> words(["model=a.onnx", "port=8000"])
    ['model_file=a.onnx', 'port=8000']
    """
    return [f"model_file={word.removeprefix('model=')}" if word.startswith("model=") else word for word in line]


def run(line: list[str]) -> None:
    """Run the command with the arguments `line`."""
    launch("serve", main, words(line))
