"""Where an image may be fetched from: the syntax of its URL, and the addresses behind it.

A URL may come out of a stranger's document, and this process may sit beside services that trust their network. So
a host must resolve to public addresses only, unless the caller vouches for it, and whoever connects must use the
addresses that were checked here: a second look-up could answer differently.
"""

from __future__ import annotations

import re
import socket
import string
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from jina_vllm_integrations.errors import ImageAddressError, ImageFetchError
from jina_vllm_integrations.images.special_addresses import is_special

if TYPE_CHECKING:
    from collections.abc import Collection

_DATA_URI = re.compile(r"data:", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_LONGEST_LABEL = 120
_FILE_URI = re.compile(r"file:", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=//)[^/?#]*@")

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# A cloud answers its own machines there, though it counts as public.
_CLOUD_SERVICE = IPv4Address("168.63.129.16")

# How many look-ups may hang at once. A thread that does cannot be ended.
_LOOK_UPS = threading.BoundedSemaphore(64)


@dataclass(frozen=True, kw_only=True)
class ImageURL:
    """A checked http or https URL.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Lower-case ASCII name without a final dot, or an IP address without brackets.
        port: Never implied.
        target: Path and query, quoted.
        redirected_from: The label of the URL that the caller gave, where this is another one.
    """

    scheme: str
    host: str
    port: int
    target: str
    redirected_from: str | None = None

    @classmethod
    def parse(cls, text: str, *, base: ImageURL | None = None) -> ImageURL:
        """Check a URL's syntax.

        Args:
            text: The URL.
            base: The URL that redirects to it, and that it may be relative to.

        Raises:
            ImageAddressError: Another scheme, no valid host and port, or credentials.
        """
        redirected_from = None if base is None else base.redirected_from or base.label
        label = url_label(text, redirected_from)
        try:
            parts = urlsplit(text if base is None else urljoin(base.text, text))
            default_port = _DEFAULT_PORTS[parts.scheme]
            host, port = canonical_host(parts.hostname or ""), parts.port
            target = quote((parts.path or "/") + ("?" + parts.query if parts.query else ""), safe=string.punctuation)
        except (KeyError, ValueError) as error:
            raise ImageAddressError(
                f"an image URL must be http or https with a valid host and port; {label!r} is not. "
                "Correct it, or give a local file as a path."
            ) from error
        if "@" in parts.netloc:
            raise ImageAddressError(
                f"an image URL must not carry credentials; {label!r} does. Fetch it yourself and give its bytes."
            )
        return cls(
            scheme=parts.scheme,
            host=host,
            port=default_port if port is None else port,
            target=target,
            redirected_from=redirected_from,
        )

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port: the ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole URL, which may hold secrets."""
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def label(self) -> str:
        """How messages name it."""
        return url_label(self.text, self.redirected_from)


def is_url(text: str) -> bool:
    """Whether a text is a URL, of whichever scheme, and no path."""
    return _URL.match(text) is not None


def is_file_uri(text: str) -> bool:
    """Whether a text is the URI of a file on this machine, or one that means to be."""
    return _FILE_URI.match(text) is not None


def is_data_uri(text: str) -> bool:
    """Whether a text holds an image itself, instead of saying where it is."""
    return _DATA_URI.match(text) is not None


def url_label(text: str, redirected_from: str | None = None) -> str:
    """A URL without credentials, query and fragment, any of which may be secret; shortened."""
    label = re.split(r"[?#]", _USER_INFO.sub("", text), maxsplit=1)[0]
    if len(label) > _LONGEST_LABEL:
        label = f"{label[:_LONGEST_LABEL]}..."
    return label if redirected_from is None else f"{label} (redirected from {redirected_from})"


def canonical_host(host: str) -> str:
    """One spelling for a host name or IP address.

    Raises:
        ValueError: Neither of them.
    """
    try:
        return str(ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        name = host.removesuffix(".").encode("idna").decode("ascii").lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{host!r} is not a host name")
    return name


def resolve(url: ImageURL, *, private_hosts: Collection[str], timeout: float) -> list[str]:
    """The addresses of a URL's host, every one of them checked.

    Args:
        url: Whose host.
        private_hosts: Hosts that need no public address.
        timeout: Seconds for the look-up.

    Raises:
        ImageAddressError: Any of the addresses is not public.
        ImageFetchError: The host has no address.
        TimeoutError: No answer in time.
    """
    addresses = [ip_address(address) for address in _looked_up(url, timeout)]
    private = [str(address) for address in addresses if not is_public(address)]
    if private and url.host not in map(canonical_host, private_hosts):
        raise ImageAddressError(
            f"an image URL must lead to public addresses only; the host of {url.label!r} is at {', '.join(private)}. "
            f"If you vouch for it, add {url.host!r} to ImageLimits.private_hosts."
        )
    return [str(address) for address in addresses]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is reached through the Internet, also where it carries an IPv4 address inside."""
    if isinstance(address, IPv4Address):
        public = address.is_global and not is_special(address)
        return public and not address.is_multicast and address != _CLOUD_SERVICE
    embedded = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        embedded = IPv4Address(address.packed[-4:])
    if embedded is not None:
        return is_public(embedded)
    return address.is_global and not is_special(address) and address in _GLOBAL_UNICAST


def _looked_up(url: ImageURL, timeout: float) -> list[str]:
    end = time.monotonic() + timeout
    if not _LOOK_UPS.acquire(timeout=timeout):
        raise TimeoutError
    look_up: Future[list[Any]] = Future()
    # The system's look-up has no time limit, so it runs in a thread that nobody waits for, the end of Python included.
    try:
        threading.Thread(target=_look_up, args=(url, look_up), name="image host", daemon=True).start()
    except RuntimeError:  # the system has no more threads
        _LOOK_UPS.release()
        raise
    try:
        answers = look_up.result(max(0, end - time.monotonic()))
    except socket.gaierror as error:
        raise ImageFetchError(
            f"an image URL's host must have an address; that of {url.label!r} has none ({error}). Correct it."
        ) from error
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def _look_up(url: ImageURL, look_up: Future[list[Any]]) -> None:
    try:
        look_up.set_result(socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM))
    except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
        look_up.set_exception(error)
    finally:
        _LOOK_UPS.release()
