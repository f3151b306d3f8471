"""What one image may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.images.addresses import canonical_host

_COUNTS = ("max_bytes", "max_pixels", "max_url_bytes", "max_url_pixels", "max_redirects", "max_page_memory")


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """What one image may cost, and where it may come from.

    Attributes:
        max_bytes: Size of the encoded image.
        max_pixels: Width times height. A decoded pixel takes 4 bytes, for a moment in up to three copies; the default
            stops at 683 MiB a copy. It leaves room for an A0 sheet at 300 dpi (140 million), and beyond it Pillow,
            as it comes, takes an image for a decompression bomb.
        max_url_bytes: The same of what a URL leads to, which nobody has chosen; the lower of the two counts.
        max_url_pixels: Likewise. The default leaves room for an A3 sheet at 300 dpi, and for what cameras take.
        max_redirects: How often a URL may lead to another one.
        timeout: Seconds in total for fetching one URL.
        max_page_seconds: Seconds for reading or drawing a page of a document.
        max_page_memory: Bytes of memory for it, those of the process that does it, which has 60 MB before.
        private_hosts: Names or IP addresses of hosts that the caller vouches for, although they have addresses that
            are not public: an image server of one's own.

    Raises:
        OptionError: A value that is none of these.
    """

    max_bytes: int = 64 * 2**20
    max_pixels: int = 178_956_970
    max_url_bytes: int = 16 * 2**20
    max_url_pixels: int = 64_000_000
    max_redirects: int = 3
    timeout: float = 20.0
    max_page_seconds: float = 30.0
    max_page_memory: int = 2**30
    private_hosts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value, least = getattr(self, name), 0 if name == "max_redirects" else 1
            if not isinstance(value, int) or value < least:
                raise OptionError(f"{name} must be a whole number from {least}, got {value!r}.")
        for name in ("timeout", "max_page_seconds"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
                raise OptionError(f"{name} must be a positive number of seconds, got {seconds!r}.")
        if not isinstance(self.private_hosts, frozenset):
            raise OptionError(f"private_hosts must be a frozenset of host names, got {self.private_hosts!r}.")
        for host in self.private_hosts:
            try:
                canonical_host(host)
            except ValueError as error:
                raise OptionError(
                    f"private_hosts must be names or IP addresses without scheme, port and path, got {host!r}."
                ) from error

    def for_urls(self) -> Self:
        """Return the limits of what a URL leads to."""
        return replace(
            self,
            max_bytes=min(self.max_bytes, self.max_url_bytes),
            max_pixels=min(self.max_pixels, self.max_url_pixels),
        )
