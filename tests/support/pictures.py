"""Pictures of one colour, and the forms in which users have them."""

from __future__ import annotations

import base64
import io
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
from PIL import Image


def picture(colour="white", size=(90, 60), mode="RGB"):
    """Return a plain picture."""
    return Image.new(mode, size, colour)


def noise(width, height, bands=3):
    """Return a picture of random pixels."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, bands), dtype=np.uint8))


def encoded(image, image_format="PNG", **options):
    """Return an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def png(colour, size=(90, 60), mode="RGB"):
    """Return a plain picture as the bytes of a file."""
    return encoded(picture(colour, size, mode))


def in_base64(content):
    """Return bytes as blocks and nodes hold them."""
    return base64.b64encode(content).decode()


def data_uri(content):
    """Return a PNG's bytes as a data URI."""
    return f"data:image/png;base64,{in_base64(content)}"


def colour_of(image):
    """Return the name of a picture's colour in its corner."""
    red, green, blue = image.getpixel((1, 1))
    return "red" if red > 200 > green + blue else "blue" if blue > 200 > red + green else "another"


def saved(path, colour, size=(60, 40)):
    """Write a plain picture, and return its path."""
    path.parent.mkdir(exist_ok=True)
    picture(colour, size).save(path)
    return path


def scans_of(folder, colours):
    """Return a new folder of pages, one of each colour."""
    for colour in colours:
        saved(folder / "scans" / f"{colour}.png", colour, size=(90, 60))
    return folder / "scans"


def scans_beside_private(folder):
    """Return a new folder with a red page, which may be read; the blue one in the folder beside it may not."""
    saved(folder / "private" / "blue.png", "blue", size=(90, 60))
    return scans_of(folder, ["red"])


class _RedPicture(BaseHTTPRequestHandler):
    """Answers with a red picture."""

    def do_GET(self):
        """Answer."""
        content = png("red")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def served():
    """Serve a red picture on this machine, and give its URL."""
    with HTTPServer(("127.0.0.1", 0), _RedPicture) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/red.png"
        server.shutdown()
        thread.join()
