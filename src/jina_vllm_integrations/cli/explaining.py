"""The command ``jina-vllm explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jina_vllm_integrations.cli.model_choice import open_engine
from jina_vllm_integrations.cli.output import note, say
from jina_vllm_integrations.errors import OptionError
from jina_vllm_integrations.foundation.options import check_new_files

if TYPE_CHECKING:
    import argparse

    from jina_vllm_integrations.images import PageSource


def explain(options: argparse.Namespace) -> int:
    """Show what each token of a query finds in an image, and draw it."""
    from jina_vllm_integrations import heatmaps
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.heatmaps.lettering import Lettering
    from jina_vllm_integrations.heatmaps.tables import format_explanation

    _check_output(options.output, overwrite=options.overwrite)
    Lettering(options.font)  # raises before vLLM starts
    image = _image(options)
    with open_engine(options) as engine:
        encoder = JinaEncoder(engine, task=options.task)
        encoder.check([options.query], role="query")
        encoder.check([image], role="document")
        note("starting vLLM, which takes half a minute or more")
        explanation = heatmaps.explain(encoder, options.query, image, pool_factor=options.pool_factor)
    explanation.sheet(image, font=options.font).save(options.output, optimize=True)
    say(format_explanation(explanation))
    say(f"\nThe picture is {options.output}")
    return 0


def _check_output(path: Path, *, overwrite: bool) -> None:
    if path.suffix != ".png":
        raise OptionError(f"the output must end in .png, got {str(path)!r}. Rename it.")
    check_new_files([path], overwrite=overwrite)


def _image(options: argparse.Namespace) -> Path | PageSource:
    """Return the image; for the demo, its own pictures may be given by name."""
    from jina_vllm_integrations.cli.pages import image_named, read_passwords

    passwords = () if options.password_file is None else read_passwords(options.password_file)
    image = image_named(options.image, passwords)
    if not options.demo or image != Path(options.image) or image.exists():
        return image
    from jina_vllm_integrations.demo import demo_corpus

    return next((document.path for document in demo_corpus().documents if document.name == options.image), image)
