"""An exported model behind HTTP: images in, keypoints out, without torch.

The server's libraries are imported when an app is made or started, so that importing this costs little.
"""

from softpoint.serving.app import create_app
from softpoint.serving.server import serve
from softpoint.serving.service import Service
from softpoint.serving.settings import Settings

__all__ = ["Service", "Settings", "create_app", "serve"]
