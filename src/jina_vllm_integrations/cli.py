"""The command ``jina-vllm``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import contextmanager
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jina_vllm_integrations.errors import InputError, JinaVLLMError, OptionError
from jina_vllm_integrations.types import Role, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jina_vllm_integrations.encoder import JinaEncoder
    from jina_vllm_integrations.sources import Source, Sources

# vLLM and what it stands on speak of much that a user of a command cannot act on, and vLLM does it on stdout. Set
# any of these to hear it.
_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
_LONGEST_NAME = 120
_INTERRUPTED = 130  # what shells expect after Ctrl-C

_EMBED_EXAMPLE = """\
example:
  jina-vllm embed scans/ notes.txt --model jinaai/jina-embeddings-v4-vllm-retrieval \\
      --task retrieval --role document --output pages.npy
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 problems found, 2 an error, 130 interrupted."""
    options = _parser().parse_args(arguments)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with _logging_to_stderr():
            return int(options.run(options))
    except (JinaVLLMError, OSError) as error:
        _note(str(error))
        return 2
    except KeyboardInterrupt:
        _note("interrupted")
        return _INTERRUPTED


def demo(_: argparse.Namespace) -> int:
    """Search a few pictures with a toy checkpoint, to see everything work."""
    # Without a GPU, vLLM would start a third process for its worker; this halves the demo's start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from jina_vllm_integrations.demo import demo_corpus, demo_engine
    from jina_vllm_integrations.demo.search import format_search, score_corpus
    from jina_vllm_integrations.encoder import JinaEncoder

    _say("A real vLLM runs a TOY: a tiny checkpoint in the layout of jina-embeddings-v4,")
    _say("trained on drawn pages and scenes. It shows the whole way from pictures to a")
    _say("search, and nothing of how well jina-embeddings-v4 searches.")
    _say("Starting vLLM takes about half a minute ...\n")
    corpus = demo_corpus()
    with demo_engine() as engine:
        scores = score_corpus(JinaEncoder(engine, task="retrieval"), corpus)
    _say(format_search(corpus, scores))
    return 0


def embed(options: argparse.Namespace) -> int:
    """Embed texts and images, and write a vector for each to a file."""
    from jina_vllm_integrations.encoder import JinaEncoder
    from jina_vllm_integrations.engines.in_process import InProcessEngine
    from jina_vllm_integrations.sources import Sources
    from jina_vllm_integrations.vector_files import check_output, files_of

    check_output(options.output, overwrite=options.overwrite)
    sources = Sources(texts=options.text, paths=options.paths, lines=options.lines)
    with InProcessEngine(options.model, **dict(options.engine_option)) as engine:
        encoder = JinaEncoder(engine, task=options.task, dimensions=options.dimensions, truncate=options.truncate)
        n_items = _check_items(sources, encoder, options)
        _write_vectors(sources, n_items, encoder, options)
    files = " and ".join(map(str, files_of(options.output)))
    _say(f"{n_items} vectors of {encoder.dimensions} dimensions in {files}")
    return 0


def prepare(options: argparse.Namespace) -> int:
    """Make a directory that vLLM serves of the base repository and its adapters."""
    from jina_vllm_integrations import preparation

    chosen = {"task": options.task, "all_tasks": options.all_tasks, "revision": options.revision}
    out = preparation.prepare(options.src, options.out, **chosen, progress=not options.quiet)
    _say(f"{out} is ready for {options.task or 'all tasks'}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what is wrong with the installation and what mends it."""
    from jina_vllm_integrations.doctor import diagnose, format_findings

    findings = diagnose(options.model)
    _say(format_findings(findings))
    return int(any(finding.status == "problem" for finding in findings))


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
        _note(f"left out what is hidden or neither text nor image: {n_left_out} found, e.g. {example}")
    if not n_items:
        raise OptionError("nothing to embed. Name files, folders, or texts with --text.")
    return n_items


def _write_vectors(sources: Sources, n_items: int, encoder: JinaEncoder, options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from jina_vllm_integrations import __version__
    from jina_vllm_integrations.vector_files import open_vector_file

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jina-vllm", description="jina-embeddings-v4 run by vLLM: texts and images in one space."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help=demo.__doc__, description=demo.__doc__)
    command.set_defaults(run=demo)

    command = commands.add_parser(
        "embed",
        help=embed.__doc__,
        description=embed.__doc__,
        epilog=_EMBED_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_embed_arguments(command)
    command.set_defaults(run=embed)

    command = commands.add_parser("prepare", help=prepare.__doc__, description=prepare.__doc__)
    command.add_argument("src", help="the base repository: local directory or hub id, e.g. jinaai/jina-embeddings-v4")
    command.add_argument("out", type=Path, help="the directory to make")
    served = command.add_mutually_exclusive_group(required=True)
    served.add_argument("--task", choices=get_args(Task), help="merge this task's adapter into the weights")
    served.add_argument("--all-tasks", action="store_true", help="keep every task's adapter beside the weights")
    command.add_argument("--revision", help="branch, tag or commit on the hub")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.set_defaults(run=prepare)

    command = commands.add_parser("doctor", help=doctor.__doc__, description=doctor.__doc__)
    command.add_argument("--model", help="check this model as well: a local directory or a hub id")
    command.set_defaults(run=doctor)
    return parser


def _add_embed_arguments(command: argparse.ArgumentParser) -> None:
    items = command.add_argument_group("what to embed")
    items.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="a text file, an image file, or a folder")
    items.add_argument("--text", action="append", default=[], help="a literal text; may be repeated")
    items.add_argument("--lines", action="store_true", help="make each line of a text file an item of its own")

    model = command.add_argument_group("how")
    model.add_argument("--model", required=True, help="local directory or hub id")
    model.add_argument(
        "--task", required=True, choices=get_args(Task), help="what the vectors are for, as the model's name says"
    )
    model.add_argument(
        "--role",
        required=True,
        choices=get_args(Role),
        help="whether the items are what is searched for (query) or what is searched (document)",
    )
    model.add_argument(
        "--dimensions", type=int, metavar="N", help="one of the model's Matryoshka sizes (default: the full size)"
    )
    model.add_argument("--truncate", action="store_true", help="cut texts that are too long, instead of refusing them")
    model.add_argument(
        "--engine-option",
        action="append",
        default=[],
        type=_engine_option,
        metavar="NAME=VALUE",
        help="one of vLLM's engine arguments, e.g. max_model_len=8192; VALUE is JSON or plain text; may be repeated",
    )

    output = command.add_argument_group("where to")
    output.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="NAME.npy, NAME.jsonl or NAME.parquet"
    )
    output.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    output.add_argument("--quiet", action="store_true", help="show no progress bar")


def _engine_option(argument: str) -> tuple[str, Any]:
    name, separator, value = argument.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {argument!r}")
    if name == "model":
        raise argparse.ArgumentTypeError("the model is named by --model")
    # Python's spelling of a truth value must not become a text, which would be true.
    if value in {"True", "False"}:
        value = value.lower()
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("jina_vllm_integrations")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _note(text: str) -> None:
    sys.stderr.write(f"jina-vllm: {text}\n")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
