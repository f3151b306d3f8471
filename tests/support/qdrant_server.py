"""A Qdrant server without Qdrant's binary."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from qdrant_client import QdrantClient, models


class RestServer(ThreadingHTTPServer):
    """Stands for a Qdrant server: its REST API, as far as an index needs it, over an embedded Qdrant."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), RestHandler)
        self.qdrant = QdrantClient(":memory:")
        self.turns = threading.Lock()
        self.requests = []

    @property
    def url(self):
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def bodies(self, path):
        """Return the sizes and contents of the requests to a path of the collection ``pages``."""
        return [body for asked, body in self.requests if asked == f"/collections/pages{path}"]

    def answer(self, method, path, body):
        """Do what a request asks for, and return its result."""
        match method, *path.strip("/").split("/"):
            case "GET", "collections", name, "exists":
                result = models.CollectionExistence(exists=self.qdrant.collection_exists(name))
            case "GET", "collections", name:
                result = self.qdrant.get_collection(name)
            case "PUT", "collections", name:
                return self.qdrant.create_collection(name, models.CreateCollection(**body).vectors)
            case "PUT", "collections", name, "points":
                result = self.qdrant.upsert(name, models.PointsList(**body).points)
            case "POST", "collections", name, "points", "query":
                asked = models.QueryRequest(**body)
                result = self.qdrant.query_points(
                    name, asked.query, using=asked.using, prefetch=asked.prefetch, limit=asked.limit
                )
            case "POST", "collections", name, "points", "delete":
                result = self.qdrant.delete(name, models.PointIdsList(**body))
            case "POST", "collections", name, "points":
                records = self.qdrant.retrieve(name, models.PointRequest(**body).ids)
                return [json.loads(record.model_dump_json(exclude_none=True)) for record in records]
            case "POST", "collections", name, "points", "scroll":
                result = models.ScrollResult(points=self.qdrant.scroll(name, limit=1000, with_vectors=True)[0])
            case "POST", "collections", name, "points", "count":
                result = self.qdrant.count(name)
        return json.loads(result.model_dump_json(exclude_none=True))


class RestHandler(BaseHTTPRequestHandler):
    """Reads a request's JSON and answers with JSON."""

    def do_GET(self):
        """Answer any request."""
        path, body = self.path.partition("?")[0], self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/":
            reply = {"title": "qdrant", "version": version("qdrant-client")}
        else:
            with self.server.turns:
                self.server.requests.append((path, body))
                reply = {"result": self.server.answer(self.command, path, json.loads(body or "null")), "time": 0.0}
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = do_GET  # noqa: N815

    def log_message(self, *args):
        """Say nothing."""
