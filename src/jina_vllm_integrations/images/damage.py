"""What a decoder raises about an image -> an error of this package about that image."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from jina_vllm_integrations.errors import ImageError, ImageFormatError, ImageSizeError

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the system says where damage led a decoder to a place that no file has. All else that it says is about the disk.
_NO_SUCH_PLACE = frozenset({None, errno.EINVAL, errno.EOVERFLOW})


@contextmanager
def explained(label: str) -> Iterator[None]:
    """Let whatever a decoder raises within be an `ImageError` about one image.

    Whatever it is: decoders of a dozen formats raise what their damaged bytes lead to, assertions included.

    Args:
        label: Which image, for the message.

    Raises:
        ImageFormatError: It is damaged.
        ImageSizeError: Memory does not suffice, or Pillow takes it for a decompression bomb.
        ImageError: The disk failed.
    """
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageSizeError(
            f"Pillow refuses the size of {label!r} ({error}). "
            "Downscale it, or raise PIL.Image.MAX_IMAGE_PIXELS in your program."
        ) from error
    except MemoryError as error:
        raise ImageSizeError(
            f"an image must fit into memory, where {label!r} does not. Downscale it, or decode fewer at once."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _NO_SUCH_PLACE:
            raise ImageError(
                f"an image must be readable; {label!r} cannot be read ({error.strerror}). Check the disk that it is on."
            ) from error
        reason = str(error) or type(error).__name__
        raise ImageFormatError(
            f"an image must be complete and undamaged; {label!r} cannot be decoded ({reason}). "
            "Export or download it again."
        ) from error
