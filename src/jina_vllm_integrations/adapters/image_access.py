"""Which images that documents name a component may read, as fields of it."""

# Pydantic reads the annotations of this module, so they are not postponed.
from pathlib import Path

from pydantic import BaseModel, field_validator

from jina_vllm_integrations.adapters.page_images import IMAGE_KEYS, PageImages


class ImageAccess(BaseModel):
    """What may be read of the images that metadata names, which may be a stranger's.

    Attributes:
        image_keys: Where metadata may name an image: a path, file URI, data URI or URL, as ``str``. The first that is
            there counts, and ``None`` and ``""`` as not there. Loaders and readers of pages write ``"image_uri"``.
        allowed_image_roots: The folders whose files may be read; a relative path is one of the working folder.
        allow_image_urls: Fetch http and https URLs, from public addresses only.
    """

    image_keys: tuple[str, ...] = IMAGE_KEYS
    allowed_image_roots: tuple[Path, ...] = ()
    allow_image_urls: bool = False

    @field_validator("allowed_image_roots")
    @classmethod
    def _from_here(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        """Let folders stay where they are when the process changes its own."""
        return tuple(root.absolute() for root in roots)

    def page_images(self) -> PageImages:
        """Return what reads the images."""
        return PageImages.of(keys=self.image_keys, roots=self.allowed_image_roots, urls=self.allow_image_urls)
