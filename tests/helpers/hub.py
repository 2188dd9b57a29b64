"""A Hugging Face Hub of this machine, with one model: the requests that uploading and downloading it make."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO, TOKEN, COMMIT = "user/mice", "hf_token", "a" * 40


class Hub(ThreadingHTTPServer):
    """Listens at `address`, and keeps the content of `files` and whether the model is `private`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.private = False


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def received(self) -> bytes:
        """Return the body, which may come in chunks."""
        if (length := self.headers["Content-Length"]) is not None:
            return self.rfile.read(int(length))
        parts: list[bytes] = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        return b"".join(parts)

    def do_POST(self) -> None:
        body = self.received()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer({"error": "no token"}, 401)
        elif self.path == "/api/repos/create":
            wanted = json.loads(body)  # of huggingface_hub before 2.0, and since
            self.server.private = wanted.get("private") is True or wanted.get("visibility") == "private"
            self.answer({"url": f"{self.server.address}/{REPO}"})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path == f"/api/models/{REPO}/preupload/main":
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": file["path"], **plain} for file in json.loads(body)["files"]]})
        elif self.path == f"/api/models/{REPO}/commit/main":
            for entry in map(json.loads, body.splitlines()):
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self.answer({"commitUrl": f"{self.server.address}/{REPO}/commit/{COMMIT}", "commitOid": COMMIT})
        else:
            self.answer({"error": self.path}, 404)

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.path.startswith(f"/{REPO}/resolve/") and name in self.server.files:
            content = self.server.files[name]
            self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')
        elif self.path.startswith(f"/api/models/{REPO}/tree/"):
            files = self.server.files.items()
            self.answer([{"type": "file", "path": path, "size": len(part), "oid": "1" * 40} for path, part in files])
        elif self.path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": path} for path in self.server.files]
            self.answer({"id": REPO, "sha": COMMIT, "siblings": siblings})
        else:
            self.answer({"error": self.path}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()
