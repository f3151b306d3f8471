"""The arguments of the commands."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

from jina_vllm_integrations.cli.benching import bench
from jina_vllm_integrations.cli.commands import demo, doctor, prepare
from jina_vllm_integrations.cli.embedding import embed
from jina_vllm_integrations.cli.explaining import explain
from jina_vllm_integrations.foundation.skipping import OnError
from jina_vllm_integrations.types import Output, Role, Task

_EMBED_EXAMPLE = """\
example:
  jina-vllm embed scans/ notes.txt --model jinaai/jina-embeddings-v4-vllm-retrieval \\
      --task retrieval --role document --output pages.npy
"""
_EXPLAIN_EXAMPLE = """\
example:
  jina-vllm explain 'broken clocks wanted at Station Cafe' page-15.png --demo \\
      --output why.png
"""
_BENCH_EXAMPLE = """\
a workload is one of
  texts:TOKENS               texts of exactly so many tokens, prefix included
  pages:WIDTHxHEIGHT         pictures of so many pixels, encoded
  4texts:128+1pages:784x768  both in one stream, in this ratio
  queries-beside:WORKLOAD    short queries, one at a time, while a stream of
                             the workload keeps the engine full: its speed,
                             and how long a query takes

examples:
  jina-vllm bench --demo
  jina-vllm bench --model jinaai/jina-embeddings-v4-vllm-retrieval \\
      --workload texts:512 --workload pages:784x768 \\
      --workload queries-beside:pages:784x768 --json speed.json
"""


def command_line() -> argparse.ArgumentParser:
    """Return the parser; what it parses has the command's function as ``run``."""
    parser = argparse.ArgumentParser(
        prog="jina-vllm", description="jina-embeddings-v4 run by vLLM: texts and images in one space."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help=demo.__doc__, description=demo.__doc__)
    command.set_defaults(run=demo)

    with_examples = (
        ("embed", embed, _add_embed_arguments, _EMBED_EXAMPLE),
        ("explain", explain, _add_explain_arguments, _EXPLAIN_EXAMPLE),
        ("bench", bench, _add_bench_arguments, _BENCH_EXAMPLE),
    )
    for name, run, add_arguments, examples in with_examples:
        command = commands.add_parser(
            name,
            help=run.__doc__,
            description=run.__doc__,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)

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
    items.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="a file of text, an image or a PDF, or a folder"
    )
    items.add_argument("--text", action="append", default=[], help="a literal text; may be repeated")
    items.add_argument("--lines", action="store_true", help="make each line of a text file an item of its own")
    items.add_argument(
        "--pages",
        metavar="RANGES",
        help="which pages of each PDF, and of each TIFF that has several, e.g. 1-3,7,20- (default: all)",
    )
    items.add_argument(
        "--dpi", type=float, default=150, metavar="N", help="at which PDFs are drawn (default: %(default)g)"
    )
    _add_password_file(items)

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
        "--on-error",
        default="raise",
        choices=get_args(OnError),
        help="stop at an item that cannot be embedded, or skip it and say so (default: %(default)s)",
    )
    _add_engine_option(model)

    output = command.add_argument_group("where to")
    output.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="NAME.npy, NAME.jsonl or NAME.parquet"
    )
    output.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    output.add_argument("--quiet", action="store_true", help="show no progress bar")


def _add_explain_arguments(command: argparse.ArgumentParser) -> None:
    items = command.add_argument_group("what to explain")
    items.add_argument("query", metavar="QUERY", help="a literal text")
    items.add_argument(
        "image",
        metavar="IMAGE",
        help="an image file, or a page: report.pdf#page=3; with --demo, also a demo picture's name: page-15.png",
    )
    _add_password_file(items)

    model = command.add_argument_group("how")
    source = model.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="local directory or hub id of a checkpoint with a multi-vector head")
    source.add_argument("--demo", action="store_true", help="use the demo's toy checkpoint")
    model.add_argument("--task", default="retrieval", choices=get_args(Task), help="default: %(default)s")
    model.add_argument(
        "--pool-factor", type=int, default=1, metavar="N", help="pool the page's tokens to an Nth (default: do not)"
    )
    _add_engine_option(model)

    output = command.add_argument_group("where to")
    output.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="NAME.png")
    output.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    output.add_argument("--font", type=Path, metavar="FILE", help="a font file that has the query's characters")


def _add_bench_arguments(command: argparse.ArgumentParser) -> None:
    work = command.add_argument_group("what to measure")
    work.add_argument(
        "--workload",
        action="append",
        default=[],
        metavar="SPEC",
        help="see below; may be repeated (default: calls with 1 and 16 texts, 1 and 8 pages, and 4 of each)",
    )
    work.add_argument(
        "--batch-size", type=int, metavar="N", help="measure calls of N items, not a stream (with --concurrency: 1)"
    )
    work.add_argument(
        "--concurrency", type=int, metavar="N", help="measure N callers, each with a call in flight (default: 1)"
    )
    work.add_argument("--role", default="document", choices=get_args(Role), help="default: %(default)s")
    work.add_argument(
        "--output",
        default="dense",
        choices=get_args(Output),
        help="one vector an item, one a token, or both at once (default: %(default)s)",
    )
    work.add_argument("--image-format", default="jpeg", choices=("jpeg", "png"), help="default: %(default)s")

    length = command.add_argument_group("how long")
    ends = length.add_mutually_exclusive_group()
    ends.add_argument(
        "--seconds", type=float, default=20.0, metavar="S", help="for each workload (default: %(default)g)"
    )
    ends.add_argument("--items", type=int, metavar="N", help="measure at least N items of each workload instead")
    length.add_argument(
        "--warmup",
        type=int,
        default=16,
        metavar="N",
        help="items that come first, twice, and are not counted; nor are a stream's first N (default: %(default)s)",
    )

    model = command.add_argument_group("how")
    source = model.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="local directory or hub id")
    source.add_argument("--demo", action="store_true", help="use the demo's toy checkpoint")
    model.add_argument("--task", default="retrieval", choices=get_args(Task), help="default: %(default)s")
    model.add_argument(
        "--peak-tflops",
        type=float,
        metavar="X",
        help="what the GPUs can do together, for the share of the paper limit (default: measured on one GPU in "
        "bfloat16; unknown on a CPU)",
    )
    _add_engine_option(model)

    output = command.add_argument_group("where to")
    output.add_argument("--json", type=Path, metavar="FILE", help="write all figures, versions and options as well")
    output.add_argument("--overwrite", action="store_true", help="replace the file if it exists")


def _add_password_file(group: argparse._ArgumentGroup) -> None:
    # Not the password itself: everybody on the machine sees the arguments of a command.
    group.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="a file with the passwords of encrypted PDFs, one a line; each is tried",
    )


def _add_engine_option(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine-option",
        action="append",
        default=[],
        type=_engine_option,
        metavar="NAME=VALUE",
        help="one of vLLM's engine arguments, e.g. max_model_len=8192; VALUE is JSON or plain text; may be repeated",
    )


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
