"""An exported model behind HTTP: images in, keypoints out, without torch.

The libraries of the extra `serve` are imported when an application is created or started.
"""

from softpoint.serving.app import Service, create_app
from softpoint.serving.server import serve
from softpoint.serving.settings import Settings

__all__ = ["Service", "Settings", "create_app", "serve"]
