"""The command ``jina-vllm``."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jina_vllm_integrations.cli.output import note
from jina_vllm_integrations.cli.parser import command_line
from jina_vllm_integrations.errors import JinaVLLMError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# vLLM and what it stands on speak of much that a user of a command cannot act on, and vLLM does it on stdout. Set
# any of these to hear it.
_QUIET = {
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TRANSFORMERS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}
_INTERRUPTED = 130  # what shells expect after Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 done, 1 problems found, 2 an error, 130 interrupted."""
    options = command_line().parse_args(arguments)
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with _logging_to_stderr():
            return int(options.run(options))
    except (JinaVLLMError, OSError) as error:
        note(str(error))
        return 2
    except KeyboardInterrupt:
        note("interrupted")
        return _INTERRUPTED


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
