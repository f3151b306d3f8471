"""Images by URL: from public addresses only, within one deadline, over servers that misbehave."""

from __future__ import annotations

import io
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from PIL import Image

from jina_vllm_integrations.errors import ImageAddressError, ImageFetchError, ImageFormatError, ImageSizeError
from jina_vllm_integrations.images import ImageLimits, addresses, inspect
from jina_vllm_integrations.images.addresses import is_public

PICTURE = Image.new("RGB", (3, 2), (200, 100, 50))
BUFFER = io.BytesIO()
PICTURE.save(BUFFER, "PNG")
PNG = BUFFER.getvalue()


class Server(ThreadingHTTPServer):
    """Serves PNG at every path that has no other answer, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, host, port):
        super().__init__((host, port), Handler)
        self.host = host
        self.answers = {}
        self.requests = []
        self.test_is_over = threading.Event()

    def url(self, path="/", host=None):
        """Where the server answers."""
        return f"http://{host or self.host}:{self.server_port}{path}"

    def handle_error(self, *args):
        """Keep quiet: clients that hang up are what many of these tests are about."""


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the server's answer for its path."""

    def do_GET(self):
        """Answer one request."""
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.answers.get(self.path.partition("?")[0], picture)(self)

    def log_message(self, *args):
        """Keep quiet."""


def picture(handler):
    """The picture, and a cookie."""
    reply(handler, 200, PNG, Set_Cookie="id=1")


def reply(handler, status, body=b"", **headers):
    """An answer whose body has a declared length."""
    handler.send_response(status)
    for name, value in {"Content_Length": len(body), **headers}.items():
        handler.send_header(name.replace("_", "-"), str(value))
    handler.end_headers()
    handler.wfile.write(body)


def redirect(location):
    """An answer that leads elsewhere."""
    return lambda handler: reply(handler, 302, Location=location, Set_Cookie="id=1")


@pytest.fixture
def serve():
    """Starts servers on loopback addresses."""
    servers = []

    def start(host="127.0.0.1", port=0):
        server = Server(host, port)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.test_is_over.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(serve):
    """One server."""
    return serve()


class NameServer(dict):
    """The addresses of each name: one list a look-up, the last of them from then on."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.system = socket.getaddrinfo

    def look_up(self, host, port, *args, **kwargs):
        """Stands for ``socket.getaddrinfo``."""
        if host in self:
            self.asked.append(host)
            addresses = self[host].pop(0) if len(self[host]) > 1 else self[host][0]
        elif host.endswith(".test"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        else:
            addresses = [host]
        return [answer for address in addresses for answer in self.system(address, port, *args, **kwargs)]


@pytest.fixture
def names(monkeypatch):
    """A name server that knows what the test says."""
    server = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", server.look_up)
    return server


def load(url, *vouched, timeout=5.0, **limits):
    """The image at a URL."""
    return inspect(url, ImageLimits(private_hosts=frozenset(vouched), timeout=timeout, **limits)).load()


def test_a_url_gives_the_same_pixels_as_its_file(server):
    """Every load fetches the image anew."""
    handle = inspect(server.url("/a.png"), ImageLimits(private_hosts=frozenset({"127.0.0.1"})))

    assert handle.size is None
    assert handle.load() == handle.load() == PICTURE
    assert [path for path, _ in server.requests] == ["/a.png", "/a.png"]


def test_a_request_is_modest(server):
    """It names this package, keeps no cookie and takes no compression."""
    server.answers["/old"] = redirect("/new")

    load(server.url("/old"), "127.0.0.1")

    for _, headers in server.requests:
        assert headers["User-Agent"] == "jina-vllm-integrations"
        assert headers["Accept-Encoding"] == "identity"
        assert headers["Host"] == f"127.0.0.1:{server.server_port}"
        assert "Cookie" not in headers


def test_proxies_of_the_environment_are_not_used(server, serve, monkeypatch):
    """Behind a proxy nobody could say which address is reached."""
    proxy = serve()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())

    assert load(server.url(), "127.0.0.1") == PICTURE
    assert proxy.requests == []


def test_the_query_is_sent_but_not_shown(server):
    """A signature belongs to the server, not into logs."""
    server.answers["/gone"] = lambda handler: reply(handler, 404)

    with pytest.raises(ImageFetchError) as failure:
        load(server.url("/gone?signature=secret#part"), "127.0.0.1")
    assert server.requests[0][0] == "/gone?signature=secret"
    assert "secret" not in str(failure.value)


def test_a_path_is_quoted(server):
    """A URL as people write it; what is quoted already stays."""
    load(server.url("/Übersicht 1%202.png"), "127.0.0.1")

    assert server.requests[0][0] == "/%C3%9Cbersicht%201%202.png"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),  # IPv4 in IPv6
        ("64:ff9b::808:808", True),  # 8.8.8.8 behind NAT64
        ("0.0.0.0", False),  # noqa: S104 - an address like others
        ("10.0.0.5", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("168.63.129.16", False),  # a cloud's own service
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.0.0.192", False),  # a cloud's own service
        ("192.168.1.1", False),
        ("192.88.99.2", False),  # 6a44
        ("198.19.255.255", False),
        ("224.0.0.1", False),
        ("239.1.2.3", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),  # 127.0.0.1 behind NAT64
        ("64:ff9b:1::808:808", False),
        ("2001:0:808:808::1", False),  # Teredo
        ("2001:db8::1", False),
        ("2001:1ff:ffff::1", False),  # protocol assignments
        ("2001:200::1", True),
        ("3fff::1", False),  # documentation
        ("3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", False),
        ("3fff:1000::1", True),
        ("5f00::1", False),  # segment routing
        ("100:0:0:1::1", False),
        ("2002:7f00:1::", False),  # 127.0.0.1 in 6to4
        ("2002:a00:5::1", False),  # 10.0.0.5 in 6to4
        ("fc00::1", False),
        ("fe80::1", False),
        ("fe80::1%1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(address, public):
    """Public is what the Internet routes, whatever notation hides the address."""
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "intranet.test"])
def test_a_private_address_is_refused_in_every_notation(host, server, names):
    """No request is sent, and the message says how to vouch for the host."""
    names["intranet.test"] = [["127.0.0.1"]]

    with pytest.raises(ImageAddressError, match=r"ImageLimits\.private_hosts"):
        load(server.url(host=host))
    assert server.requests == []


def test_one_private_address_among_public_ones_is_enough(names):
    """Which one would be used is not ours to hope for."""
    names["mixed.test"] = [["8.8.8.8", "10.0.0.5"]]

    with pytest.raises(ImageAddressError, match=r"is at 10\.0\.0\.5"):
        load("http://mixed.test/page.png")


@pytest.mark.parametrize("vouched", ["images.test", "IMAGES.test", "images.test."])
def test_a_host_that_the_caller_vouches_for_may_be_private(vouched, server, names):
    """An image server of one's own, in any spelling of its name."""
    names["images.test"] = [["127.0.0.1"]]

    assert load(server.url(host="Images.Test"), vouched) == PICTURE
    assert server.requests[0][1]["Host"] == f"images.test:{server.server_port}"


def test_vouching_for_a_host_vouches_for_no_other(server, names):
    """Another name of the same address is another host."""
    names["images.test"] = names["other.test"] = [["127.0.0.1"]]

    with pytest.raises(ImageAddressError):
        load(server.url(host="other.test"), "images.test", "127.0.0.1")


def test_the_connection_goes_to_the_address_that_was_checked(server, serve, names, monkeypatch):
    """A name that means another address a moment later (DNS rebinding) leads nowhere else.

    White box: loopback stands for the Internet, and 127.0.0.2 for the private network.
    """
    monkeypatch.setattr(addresses, "is_public", lambda address: str(address) == "127.0.0.1")
    trap = serve("127.0.0.2", server.server_port)
    names["rebinding.test"] = [["127.0.0.1"], ["127.0.0.2"]]

    assert load(server.url(host="rebinding.test")) == PICTURE
    assert names.asked == ["rebinding.test"]
    assert trap.requests == []
    with pytest.raises(ImageAddressError):
        load(server.url(host="rebinding.test"))
    assert trap.requests == []


def test_a_host_is_reached_when_one_of_its_addresses_is(server, names):
    """An address where nobody listens is passed over."""
    names["images.test"] = [["127.0.0.3", "127.0.0.1"]]

    assert load(server.url(host="images.test"), "images.test") == PICTURE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status, server):
    """Relative ones too."""
    server.answers["/old"] = lambda handler: reply(handler, status, Location="new?size=full")

    assert load(server.url("/old"), "127.0.0.1", max_redirects=1) == PICTURE
    assert [path for path, _ in server.requests] == ["/old", "/new?size=full"]


def test_too_many_redirects_are_refused(server):
    """The limit is how many are followed; none of what comes after is asked for."""
    server.answers["/loop"] = redirect("/loop")

    for max_redirects in (0, 2):
        server.requests.clear()
        with pytest.raises(ImageFetchError, match=r"ImageLimits\.max_redirects"):
            load(server.url("/loop"), "127.0.0.1", max_redirects=max_redirects)
        assert len(server.requests) == max_redirects + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:1/",
        "http://metadata.test/latest",
        "//10.0.0.5/",
        "file:///etc/passwd",
        "ftp://8.8.8.8/",
        "http://user:secret@8.8.8.8/",
        "http://[::1",
    ],
)
def test_a_redirect_is_checked_like_the_first_url(location, server, names):
    """A vouched host cannot vouch for others. The message names both ends."""
    names["metadata.test"] = [["169.254.169.254"]]
    server.answers["/old"] = redirect(location)

    with pytest.raises(ImageAddressError) as failure:
        load(server.url("/old"), "127.0.0.1")
    assert server.url("/old") in str(failure.value)
    assert "secret" not in str(failure.value)


def test_a_body_that_is_declared_too_large_is_not_read(server):
    """The length alone is enough; this server never sends what it declares."""

    def promise(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1001")
        handler.end_headers()
        handler.server.test_is_over.wait()

    server.answers["/large"] = promise

    with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_bytes"):
        load(server.url("/large"), "127.0.0.1", max_bytes=1000)


def test_a_body_of_unknown_length_is_counted(server):
    """What arrives counts, not what is promised; this body ends only when nobody reads it."""

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while not handler.server.test_is_over.is_set():
            handler.wfile.write(bytes(1000))

    server.answers["/endless"] = endless

    with pytest.raises(ImageSizeError, match=r"ImageLimits\.max_bytes"):
        load(server.url("/endless"), "127.0.0.1", max_bytes=100_000)


def test_a_body_of_exactly_the_limit_is_taken(server):
    """A limit is the largest size that is taken."""
    assert load(server.url(), "127.0.0.1", max_bytes=len(PNG)) == PICTURE
    with pytest.raises(ImageSizeError):
        load(server.url(), "127.0.0.1", max_bytes=len(PNG) - 1)


def trickle(handler, content):
    """Two seconds' worth of bytes, each of them in good time."""
    for byte in content:
        handler.server.test_is_over.wait(2 / len(content))
        handler.wfile.write(bytes([byte]))


SLOW = {
    "nothing": lambda handler: handler.server.test_is_over.wait(),
    "headers in a trickle": lambda handler: trickle(handler, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "body in a trickle": lambda handler: (handler.send_response(200), handler.end_headers(), trickle(handler, PNG)),
    "redirects in a circle": lambda handler: (handler.server.test_is_over.wait(0.05), redirect("/slow")(handler)),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_one_deadline_covers_everything(answer, server):
    """A server gains no time by sending a little now and then."""
    server.answers["/slow"] = answer
    started = time.monotonic()

    with pytest.raises(ImageFetchError, match=r"ImageLimits\.timeout"):
        load(server.url("/slow"), "127.0.0.1", timeout=0.2, max_redirects=100)
    assert time.monotonic() - started < 1.5


def test_the_deadline_covers_a_name_server_that_does_not_answer(server, monkeypatch):
    """The system's look-up knows no limit of its own."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: server.test_is_over.wait())

    with pytest.raises(ImageFetchError, match=r"ImageLimits\.timeout"):
        load("http://slow.test/", timeout=0.2)


def test_look_ups_that_hang_are_bounded(server, names, monkeypatch):
    """White box: whoever finds no room for one waits within the deadline, and there is room again afterwards."""
    monkeypatch.setattr(addresses, "_LOOK_UPS", threading.BoundedSemaphore(1))
    quick, hanging = names.look_up, []

    def look_up(host, *args, **kwargs):
        if host == "slow.test":
            hanging.append(host)
            server.test_is_over.wait()
        return quick(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for _ in range(3):
        with pytest.raises(ImageFetchError, match=r"ImageLimits\.timeout"):
            load("http://slow.test/", timeout=0.2)
    assert hanging == ["slow.test"]
    server.test_is_over.set()
    assert load(server.url(), "127.0.0.1") == PICTURE


def test_a_look_up_that_hangs_does_not_hold_the_end_of_python():
    """The process ends although the name server never answers."""
    program = (
        "import socket, threading\n"
        "from jina_vllm_integrations.errors import ImageFetchError\n"
        "from jina_vllm_integrations.images import ImageLimits, inspect\n"
        "socket.getaddrinfo = lambda *args, **kwargs: threading.Event().wait()\n"
        "try:\n"
        "    inspect('http://slow.test/', ImageLimits(timeout=0.1)).load()\n"
        "except ImageFetchError:\n"
        "    print('over')\n"
    )
    command = [sys.executable, "-c", program]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, check=True, env=environment, timeout=120, stdout=subprocess.PIPE)
    assert ended.stdout == b"over\n"


def garbage(handler):
    """An answer that is not HTTP."""
    handler.wfile.write(b"no HTTP at all\r\n\r\n")


def half(handler):
    """A body that breaks off."""
    reply(handler, 200, PNG[:20], Content_Length=len(PNG))


FAILURES = {
    "not found": lambda handler: reply(handler, 404, PNG),
    "part of it": lambda handler: reply(handler, 206, PNG),
    "nothing to say": lambda handler: reply(handler, 204),
    "redirect to nowhere": lambda handler: reply(handler, 302),
    "no HTTP": garbage,
    "body breaks off": half,
}


@pytest.mark.parametrize("answer", FAILURES.values(), ids=FAILURES)
def test_an_answer_that_is_none_is_an_error(answer, server):
    """Only status 200 with a complete body is an image."""
    server.answers["/page.png"] = answer

    with pytest.raises(ImageFetchError, match=r"/page\.png"):
        load(server.url("/page.png"), "127.0.0.1")


def test_unreachable_hosts_are_errors(names):
    """A name without address, and a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(ImageFetchError, match="must have an address"):
        load("http://missing.test/")
    with pytest.raises(ImageFetchError, match="must answer"):
        load(f"http://127.0.0.1:{port}/", "127.0.0.1")


def test_https_is_spoken_only_with_those_who_speak_it(server):
    """A plain server under an https URL is a failed connection."""
    with pytest.raises(ImageFetchError, match="must answer"):
        load(server.url().replace("http:", "https:"), "127.0.0.1")


@pytest.fixture
def tls_server(server, tmp_path, monkeypatch):
    """A server whose certificate, which this machine trusts, is for images.test."""
    openssl = shutil.which("openssl") or pytest.skip("needs the openssl command to make a certificate")
    options = "req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout key.pem -out cert.pem"
    name = ("-subj", "/CN=images.test", "-addext", "subjectAltName=DNS:images.test")
    subprocess.run([openssl, *options.split(), *name], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def test_https_checks_the_name_of_the_host_not_its_address(tls_server, names):
    """The connection goes to an address, the certificate is for the name in the URL, and no other name will do."""
    names["images.test"] = names["other.test"] = [["127.0.0.1"]]

    def url(host):
        return tls_server.url("/page.png", host).replace("http:", "https:")

    assert load(url("images.test"), "images.test") == PICTURE
    with pytest.raises(ImageFetchError, match="Hostname mismatch"):
        load(url("other.test"), "other.test")


def test_the_deadline_covers_the_tls_handshake(names):
    """A server that accepts and then says nothing is left."""
    names["images.test"] = [["127.0.0.1"]]

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(ImageFetchError, match=r"ImageLimits\.timeout"),
    ):
        load(f"https://images.test:{silent.getsockname()[1]}/", "images.test", timeout=0.2)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b""])
def test_what_is_fetched_must_be_an_image(body, server):
    """A page that asks for a password is no picture."""
    server.answers["/page.png"] = lambda handler: reply(handler, 200, body)

    with pytest.raises(ImageFormatError, match=r"/page\.png"):
        load(server.url("/page.png"), "127.0.0.1")
