"""Serve an exported model over HTTP: softpoint serve model=FILE.onnx port=8000"""

from __future__ import annotations

from omegaconf import DictConfig

from softpoint.cli.hydra_app import launch


def main(cfg: DictConfig) -> None:
    """Load the model and answer requests until the process is stopped."""
    from dataclasses import fields

    from softpoint.runtime import load
    from softpoint.serving import Service, Settings, create_app, serve
    from softpoint.serving.server import listen, require_libraries

    if cfg.model_file is None:
        raise ValueError("model has no value; add to the command line: model=FILE.onnx, which softpoint export writes")
    require_libraries()
    settings = Settings(**{field.name: cfg[field.name] for field in fields(Settings)})
    service = Service(load(cfg.model_file, cfg.threads, cfg.providers), settings)
    service.warm_up()
    with listen(cfg.host, cfg.port) as listening:
        host, port = listening.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"{cfg.model_file} answers POST http://{address}/predict", flush=True)
        serve(create_app(service), listening, cfg.grace_s, cfg.access_log)


def hydra_overrides(arguments: list[str]) -> list[str]:
    """Return the command line for Hydra, in whose config `model` is the group of networks and not a file.

    >>> hydra_overrides(["model=a.onnx", "port=8000"])
    ['model_file=a.onnx', 'port=8000']
    """
    return [f"model_file={text.removeprefix('model=')}" if text.startswith("model=") else text for text in arguments]


def run(arguments: list[str]) -> None:
    """Run the command with these arguments."""
    launch("serve", main, hydra_overrides(arguments))
