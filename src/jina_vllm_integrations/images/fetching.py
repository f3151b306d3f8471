"""An image's URL -> its bytes, within the caller's limits.

Every hop is checked anew and connects to an address that was checked, so neither a redirect nor a changing DNS
answer leads inside. One deadline covers look-ups, connections, TLS, headers and body. Proxies named in the
environment are not used, because behind one nobody could say which address is reached; cookies are neither kept nor
sent. The body is asked for uncompressed, so it cannot grow after it was counted.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Any

import httpcore

from jina_vllm_integrations.errors import ImageFetchError, ImageSizeError
from jina_vllm_integrations.images.addresses import ImageURL, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jina_vllm_integrations.images.limits import ImageLimits

_OK = 200
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS: dict[str | bytes, str | bytes] = {
    "User-Agent": "jina-vllm-integrations",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
}


def fetch(url: ImageURL, limits: ImageLimits) -> bytes:
    """Download an image.

    Raises:
        ImageAddressError: The URL, or one that it redirects to, must not be fetched.
        ImageFetchError: No answer in time, too many redirects, another status than 200, or a failed connection.
        ImageSizeError: More than ``limits.max_bytes``.
    """
    deadline = _Deadline(limits.timeout)
    hop = url
    try:
        for _ in range(limits.max_redirects + 1):
            answer = _get(hop, limits, deadline)
            if isinstance(answer, bytes):
                return answer
            hop = answer
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise ImageFetchError(
            f"an image must arrive within {limits.timeout:g} s; {hop.label!r} did not. "
            "Try again, or raise ImageLimits.timeout."
        ) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise ImageFetchError(
            f"an image URL must answer; {hop.label!r} failed ({error}). Try again, or check the URL."
        ) from error
    raise ImageFetchError(
        f"an image URL may redirect {limits.max_redirects} times; the next would be {hop.label!r}. "
        "Give the final URL, or raise ImageLimits.max_redirects."
    )


def _get(url: ImageURL, limits: ImageLimits, deadline: _Deadline) -> bytes | ImageURL:
    """One request: the body, or where to look instead."""
    addresses = resolve(url, private_hosts=limits.private_hosts, timeout=deadline.remaining())
    pool = httpcore.ConnectionPool(
        ssl_context=ssl.create_default_context(), network_backend=_PinnedBackend(addresses, deadline)
    )
    request_url = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
    with pool, pool.stream("GET", request_url, headers={"Host": url.authority, **_HEADERS}) as response:
        headers = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in headers:
            return ImageURL.parse(headers[b"location"].decode(errors="replace"), base=url)
        if response.status != _OK:
            raise ImageFetchError(
                f"an image URL must answer with status 200; {url.label!r} did with {response.status}. Check the URL."
            )
        return _body(response, url, int(headers.get(b"content-length", 0)), limits.max_bytes)


def _body(response: httpcore.Response, url: ImageURL, declared_bytes: int, max_bytes: int) -> bytes:
    body = bytearray()
    chunks = response.iter_stream()
    while max(len(body), declared_bytes) <= max_bytes:
        chunk = next(chunks, None)
        if chunk is None:
            return bytes(body)
        body += chunk
    raise ImageSizeError(
        f"an image may have {max_bytes:,} bytes; {url.label!r} has more. "
        "Give a smaller image, or raise ImageLimits.max_bytes and max_url_bytes."
    )


class _Deadline:
    """The moment by which a fetch must be over, however many steps it takes."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left.

        Raises:
            TimeoutError: There are none.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _PinnedBackend(httpcore.NetworkBackend):
    """Connects to one of the checked addresses, whatever the host's name means by now."""

    def __init__(self, addresses: list[str], deadline: _Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - the signature is httpcore's, here and below
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for position, address in enumerate(self._addresses):
            share = self._deadline.remaining() / (len(self._addresses) - position)
            try:
                stream = httpcore.SyncBackend().connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error  # the next address may answer
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """Gives every read and write what is left of the whole time, so that a trickle of bytes gains none."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, self._deadline.remaining())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, self._deadline.remaining())

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.remaining())
        return _DeadlineStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()
