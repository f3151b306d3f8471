"""The command ``jina-vllm embed``."""

from __future__ import annotations

from contextlib import closing
from itertools import tee
from typing import TYPE_CHECKING

from jina_vllm_integrations.cli.output import note, say
from jina_vllm_integrations.errors import InputError, OptionError
from jina_vllm_integrations.foundation.skipping import Skipping

if TYPE_CHECKING:
    import argparse

    from jina_vllm_integrations.cli.sources import Source, Sources
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.types import Item

_LONGEST_NAME = 120


def embed(options: argparse.Namespace) -> int:
    """Embed texts, images and the pages of PDFs, and write a vector for each to a file."""
    from jina_vllm_integrations.cli.pages import read_passwords
    from jina_vllm_integrations.cli.sources import Sources
    from jina_vllm_integrations.cli.vector_files import check_output, files_of
    from jina_vllm_integrations.encoding.encoder import JinaEncoder
    from jina_vllm_integrations.engines.in_process import InProcessEngine
    from jina_vllm_integrations.pages import PageReader

    check_output(options.output, overwrite=options.overwrite)
    passwords = None if options.password_file is None else read_passwords(options.password_file)
    reader = PageReader(dpi=options.dpi, pages=options.pages, password=passwords)
    sources = Sources(texts=options.text, paths=options.paths, lines=options.lines, reader=reader)
    skipping = Skipping(options.on_error)
    with InProcessEngine(options.model, **dict(options.engine_option)) as engine:
        encoder = JinaEncoder(engine, task=options.task, dimensions=options.dimensions, truncate=options.truncate)
        n_items = _check_items(sources, encoder, skipping, options)
        _write_vectors(sources, n_items, encoder, skipping, options)
    files = " and ".join(map(str, files_of(options.output)))
    left_out = f"; {len(skipping.skipped)} skipped" if skipping.skipped else ""
    say(f"{n_items - len(skipping.skipped)} vectors of {encoder.dimensions} dimensions in {files}{left_out}")
    return 0


def _check_items(sources: Sources, encoder: JinaEncoder, skipping: Skipping, options: argparse.Namespace) -> int:
    """Check every item before vLLM starts, but for an image's pixels, and return how many there are.

    Bad ones that are to be skipped are told of when their turn comes to be embedded.
    """
    from tqdm import tqdm

    n_items = n_bad = 0
    for source in tqdm(sources, desc="checking", unit="item", leave=False, disable=options.quiet):
        n_items += 1
        try:
            encoder.check([source.read()], role=options.role)
        except InputError as error:
            if skipping.raises:
                raise _about(source, error) from error
            n_bad += 1
            last = _about(source, error)
    if n_left_out := sum(1 for _ in sources.left_out()):
        example = next(sources.left_out(), None)
        note(f"left out what is hidden or neither text, image nor PDF: {n_left_out} found, e.g. {example}")
    if n_without := len(sources.without_pages):
        example = sources.without_pages[0]
        note(f"left out documents that have none of the chosen pages: {n_without} found, e.g. {example}")
    if not n_items:
        raise OptionError("nothing to embed. Name files, folders, or texts with --text.")
    if n_items == n_bad:
        raise InputError(f"one item at least must be good, and none of {n_items} is; the last: {last}")
    return n_items


def _write_vectors(
    sources: Sources, n_items: int, encoder: JinaEncoder, skipping: Skipping, options: argparse.Namespace
) -> None:
    from tqdm import tqdm

    from jina_vllm_integrations import __version__
    from jina_vllm_integrations.cli.vector_files import open_vector_file
    from jina_vllm_integrations.encoding.results import dense_of

    facts = {"model": options.model, "task": options.task, "role": options.role, "version": __version__}
    to_embed, to_write = tee(sources)
    results = encoder.results(map(_item, to_embed), role=options.role, output="dense")
    with (
        closing(results),
        tqdm(total=n_items, desc="starting vLLM", unit="item", disable=options.quiet) as progress,
        open_vector_file(options.output, dimensions=encoder.dimensions, facts=facts) as write,
    ):
        for result, source in zip(results, to_write, strict=True):
            if isinstance(result, InputError):
                _leave_out(source, result, skipping)
            else:
                write(source, dense_of(result))
            if progress.n == 0:
                progress.unpause()  # vLLM's start says nothing of the pace
                progress.set_description("embedding")
            progress.update()


def _item(source: Source) -> Item | InputError:
    try:
        return source.read()
    except InputError as error:
        return error


def _leave_out(source: Source, error: InputError, skipping: Skipping) -> None:
    try:
        skipping.leave_out(error, name=repr(source.name[-_LONGEST_NAME:]))
    except InputError as raised:
        raise _about(source, raised) from raised


def _about(source: Source, error: InputError) -> InputError:
    """Name the source, which says more on a command line than a position."""
    error.index = None
    return InputError(f"{source.name[-_LONGEST_NAME:]!r}: {error}")
