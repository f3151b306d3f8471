"""The command ``jina-vllm embed``."""

from __future__ import annotations

from itertools import tee
from typing import TYPE_CHECKING

from jina_vllm_integrations.cli.output import note, say
from jina_vllm_integrations.errors import InputError, OptionError

if TYPE_CHECKING:
    import argparse

    from jina_vllm_integrations.cli.sources import Source, Sources
    from jina_vllm_integrations.encoding.encoder import JinaEncoder

_LONGEST_NAME = 120


def embed(options: argparse.Namespace) -> int:
    """Embed texts and images, and write a vector for each to a file."""
    from jina_vllm_integrations.cli.sources import Sources
    from jina_vllm_integrations.cli.vector_files import check_output, files_of
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.engines.in_process import InProcessEngine

    check_output(options.output, overwrite=options.overwrite)
    sources = Sources(texts=options.text, paths=options.paths, lines=options.lines)
    with InProcessEngine(options.model, **dict(options.engine_option)) as engine:
        encoder = JinaEncoder(engine, task=options.task, dimensions=options.dimensions, truncate=options.truncate)
        n_items = _check_items(sources, encoder, options)
        _write_vectors(sources, n_items, encoder, options)
    files = " and ".join(map(str, files_of(options.output)))
    say(f"{n_items} vectors of {encoder.dimensions} dimensions in {files}")
    return 0


def _check_items(sources: Sources, encoder: JinaEncoder, options: argparse.Namespace) -> int:
    """Check every item before vLLM starts, but for an image's pixels, and return how many there are."""
    from tqdm import tqdm

    n_items = 0
    for source in tqdm(sources, desc="checking", unit="item", leave=False, disable=options.quiet):
        item = source.read()
        try:
            encoder.check([item], role=options.role)
        except InputError as error:
            raise _about(source, error) from error
        n_items += 1
    if n_left_out := sum(1 for _ in sources.left_out()):
        example = next(sources.left_out(), None)
        note(f"left out what is hidden or neither text nor image: {n_left_out} found, e.g. {example}")
    if not n_items:
        raise OptionError("nothing to embed. Name files, folders, or texts with --text.")
    return n_items


def _write_vectors(sources: Sources, n_items: int, encoder: JinaEncoder, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from jina_vllm_integrations import __version__
    from jina_vllm_integrations.cli.vector_files import open_vector_file

    facts = {"model": options.model, "task": options.task, "role": options.role, "version": __version__}
    to_embed, to_write = tee(sources)
    vectors = encoder.stream((source.read() for source in to_embed), role=options.role)
    with (
        tqdm(total=n_items, desc="starting vLLM", unit="item", disable=options.quiet) as progress,
        open_vector_file(options.output, dimensions=encoder.dimensions, facts=facts) as write,
    ):
        try:
            for vector, source in zip(vectors, to_write, strict=True):
                write(source, vector)
                if progress.n == 0:
                    progress.unpause()  # vLLM's start says nothing of the pace
                    progress.set_description("embedding")
                progress.update()
        except InputError as error:
            if error.index is None:
                raise
            raise _about(next(to_write), error) from error


def _about(source: Source, error: InputError) -> InputError:
    """Name the source, which says more on a command line than a position."""
    error.index = None
    return InputError(f"{source.name[-_LONGEST_NAME:]!r}: {error}")
