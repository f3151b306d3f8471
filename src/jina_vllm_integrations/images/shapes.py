"""Which shapes of images the model takes."""

from __future__ import annotations

from jina_vllm_integrations.errors import ImageSizeError

# The processor's own rule, a constant of Qwen2-VL's smart_resize that no file of a checkpoint tells.
_MAX_ASPECT_RATIO = 200


def check_shape(width: float, height: float, label: str | None = None) -> None:
    """Refuse an image that is too flat for the processor.

    Args:
        width: In pixels, after the EXIF orientation was applied, or a page's in points.
        height: In pixels, likewise.
        label: Which image, for the message; ``None`` where the caller says so.

    Raises:
        ImageSizeError: It is.
    """
    if max(width, height) > _MAX_ASPECT_RATIO * min(width, height):
        of_image = "" if label is None else f" of {label!r}"
        raise ImageSizeError(
            f"the model takes images up to {_MAX_ASPECT_RATIO} times as long as wide, got {width:g}x{height:g}"
            f"{of_image}. Cut the image into pieces or pad it."
        )
