"""The command ``jina-vllm``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from jina_vllm_integrations.errors import InputError, JinaVLLMError, OptionError
from jina_vllm_integrations.types import Role, Task

if TYPE_CHECKING:
    from collections.abc import Sequence

# vLLM and what it stands on speak of much that a user of a command cannot act on. Set any of these to hear it.
_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 problems found, 2 an error."""
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        return int(options.run(options))
    except JinaVLLMError as error:
        sys.stderr.write(f"jina-vllm: {error}\n")
        return 2


def demo(options: argparse.Namespace) -> int:
    """Embed sentences and pictures with a random checkpoint and show what comes out."""
    # Without a GPU, vLLM would start a third process for its worker; this halves the demo's start.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    from jina_vllm_integrations.demo import cache_directory, demo_engine, draw_pictures, format_demo, run_demo
    from jina_vllm_integrations.encoder import JinaEncoder

    _say("This demo runs a real vLLM on a tiny checkpoint with RANDOM weights: the path is that of")
    _say("jina-embeddings-v4, the numbers mean nothing. Starting vLLM takes some 15 seconds ...\n")
    pictures = draw_pictures(options.pictures or cache_directory() / "demo-pictures")
    with demo_engine() as engine:
        result = run_demo(JinaEncoder(engine, task="retrieval"), pictures)
    _say(format_demo(result))
    _say(f"\nThe pictures are in {next(iter(pictures.values())).parent}")
    return 0


def embed(options: argparse.Namespace) -> int:
    """Embed what the command line names and write the vectors to a file."""
    from tqdm import tqdm

    from jina_vllm_integrations import __version__, sources
    from jina_vllm_integrations.encoder import JinaEncoder
    from jina_vllm_integrations.engines.in_process import InProcessEngine
    from jina_vllm_integrations.vector_files import open_vector_file

    if options.output.exists() and not options.overwrite:
        raise OptionError(f"{str(options.output)!r} exists. Choose another name, or pass --overwrite.")
    found, skipped = sources.collect(options.text, options.paths, lines=options.lines)
    if skipped:
        sys.stderr.write(
            f"jina-vllm: left out {len(skipped)} files that are neither text nor image, e.g. {skipped[0]}\n"
        )
    if not found:
        raise OptionError("nothing to embed. Name files, folders, or texts with --text.")
    facts = {"model": options.model, "task": options.task, "role": options.role, "version": __version__}
    with InProcessEngine(options.model, **dict(options.engine_option)) as engine:
        encoder = JinaEncoder(engine, task=options.task, dimensions=options.dimensions, truncate=options.truncate)
        vectors = encoder.stream((source.read() for source in found), role=options.role)
        progress = tqdm(total=len(found), unit="item", disable=options.quiet)
        output = open_vector_file(options.output, shape=(len(found), encoder.dimensions), facts=facts)
        try:
            with progress, output as write:
                for source, vector in zip(found, vectors, strict=True):
                    write(source, vector)
                    progress.update()
        except InputError as error:
            if error.index is not None:
                sys.stderr.write(f"jina-vllm: stopped at {found[error.index].name}\n")
            raise
    _say(f"{len(found)} vectors of {encoder.dimensions} dimensions in {options.output}")
    return 0


def doctor(options: argparse.Namespace) -> int:
    """Say what is wrong with the installation and what mends it."""
    from jina_vllm_integrations.doctor import diagnose, format_findings

    findings = diagnose(options.model)
    _say(format_findings(findings))
    return int(any(finding.status == "problem" for finding in findings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jina-vllm", description="jina-embeddings-v4 run by vLLM: texts and images in one space."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help=demo.__doc__, description=demo.__doc__)
    command.add_argument("--pictures", type=Path, metavar="DIR", help="where to draw the pictures (default: the cache)")
    command.set_defaults(run=demo)

    command = commands.add_parser("embed", help=embed.__doc__, description=embed.__doc__)
    command.add_argument("paths", nargs="*", type=Path, help="text files, image files, or folders of both")
    command.add_argument("--text", action="append", default=[], help="a literal text; may be repeated")
    command.add_argument("--lines", action="store_true", help="make each line of a text file an item")
    command.add_argument("--model", required=True, help="local directory or hub id")
    command.add_argument("--role", required=True, choices=get_args(Role), help="what the items are in a search")
    command.add_argument("--task", required=True, choices=get_args(Task), help="what the vectors are for")
    command.add_argument("--dimensions", type=int, help="Matryoshka size (default: the full size)")
    command.add_argument("--truncate", action="store_true", help="cut texts that are too long, instead of stopping")
    command.add_argument("-o", "--output", required=True, type=Path, help="NAME.npy, NAME.jsonl or NAME.parquet")
    command.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    command.add_argument(
        "--engine-option",
        action="append",
        default=[],
        type=_engine_option,
        metavar="NAME=VALUE",
        help="one of vLLM's engine arguments, e.g. max_model_len=8192; may be repeated",
    )
    command.set_defaults(run=embed)

    command = commands.add_parser("doctor", help=doctor.__doc__, description=doctor.__doc__)
    command.add_argument("--model", help="also look at this checkpoint")
    command.set_defaults(run=doctor)
    return parser


def _engine_option(argument: str) -> tuple[str, Any]:
    name, separator, value = argument.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {argument!r}")
    import json

    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger("jina_vllm_integrations").addHandler(handler)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
