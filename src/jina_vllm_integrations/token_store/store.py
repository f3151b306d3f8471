"""Token vectors by content, as they are kept."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jina_vllm_integrations.encoding.content import digest
from jina_vllm_integrations.errors import InputError, naming
from jina_vllm_integrations.foundation.closable import Closable
from jina_vllm_integrations.foundation.options import check_choice, check_count
from jina_vllm_integrations.foundation.sharing import SharedByCopies
from jina_vllm_integrations.foundation.skipping import OnError, Skipping
from jina_vllm_integrations.scoring.compression import check_factor, pool_tokens
from jina_vllm_integrations.scoring.quantization import quantize
from jina_vllm_integrations.scoring.rows import document_rows
from jina_vllm_integrations.token_store.keys import pinned_requests
from jina_vllm_integrations.token_store.notes import Notes
from jina_vllm_integrations.token_store.records import from_bytes, to_bytes
from jina_vllm_integrations.token_store.shelf import Shelf
from jina_vllm_integrations.token_store.warming import Warmed, Warming
from jina_vllm_integrations.types import Item, Request, Role, TokenVectors, VectorDtype

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from jina_vllm_integrations.encoding.encoder import JinaEncoder

_LEAST_BYTES = 2**20
# How many notes of what a file shows wait for the next entries to be written with.
_MOST_NOTES = 256


class TokenStore(SharedByCopies, Closable):
    """Token vectors in a folder, read by many processes and written by one.

    An entry belongs to a content (a text, or an image's pixels whatever its file), to a model with all its weights and
    options (`Engine.fingerprint`), to a task and prompt, and to how it is kept. Where any of these is another, nothing
    is found, and nothing is served for another. Entries are checked when they are read: a damaged one is logged,
    dropped and counts as missing. All methods may be called from many threads at once.

    Args:
        path: The folder; made if need be.
        max_bytes: The largest size of its file; one entry may take a sixteenth of it. The entries that were not used
            for the longest time give way. Use is noted by the process that writes. A store that was larger does not
            shrink, but takes no more.
        dtype: How vectors are kept: ``"float16"`` halves them and keeps three digits, ``"int8"`` halves them again.
        pool_factor: Pool tokens that are alike into a fraction of the rows (`pool_tokens`); 1 keeps all.
        readonly: Read beside a process that writes.

    Raises:
        OptionError: A value does not exist.
        MissingExtraError: SciPy, which pooling needs, is not installed.
        StoreInUseError: The folder is open for writing elsewhere, or open in this process.
        StoreFormatError: A newer version of this package wrote it.
        StoreDamagedError: It is no store, or not a whole one.
        StoreFullError: The disk is full.
        StoreError: It is to be read and does not exist, or the folder cannot be used.

    Example:
        >>> with TokenStore("vectors", max_bytes=20 * 2**30) as store:
        ...     store.warm(encoder, Path("scans").rglob("*.png"), progress=True)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 32 * 2**30,
        dtype: VectorDtype = "float16",
        pool_factor: int = 1,
        readonly: bool = False,
    ) -> None:
        check_choice("dtype", dtype, VectorDtype)
        check_count("max_bytes", max_bytes, least=_LEAST_BYTES)
        check_count("pool_factor", pool_factor)
        check_factor(pool_factor)
        self._dtype = dtype
        self._pool_factor = pool_factor
        self.readonly = readonly
        self._shelf = Shelf(Path(path), max_bytes=max_bytes, readonly=readonly)
        # Notes that are not written down yet.
        self._notes: dict[bytes, bytes] = {}

    def find(
        self, encoder: JinaEncoder, items: Iterable[Item], *, role: Role = "document"
    ) -> list[TokenVectors | None]:
        """Return the vectors of items that are kept, without computing any; ``None`` for the others.

        Args:
            encoder: Whose vectors.
            items: Texts and images.
            role: As they were kept.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it.
        """
        return self.get_many(self.keys(encoder, pinned_requests(encoder, items, role=role)))

    def keys(self, encoder: JinaEncoder, requests: Sequence[Request]) -> list[bytes]:
        """Return what the vectors of requests are kept under.

        An image is decoded only if its file's bytes were never seen; otherwise their hash is enough.

        Args:
            encoder: Who computes.
            requests: From `jina_vllm_integrations.token_store.keys.pinned_requests`.

        Raises:
            ImageError: An image cannot be decoded; ``index`` names its request.
        """
        return self.keys_of(encoder, self.contents(requests))

    def contents(self, requests: Sequence[Request]) -> list[bytes]:
        """Return the `content_key` of each request. Arguments and errors are those of `keys`."""
        contents = self._content_keys(requests)
        if len(self._notes) >= _MOST_NOTES:
            self._shelf.put_many(self._new_notes())
        return contents

    def keys_of(self, encoder: JinaEncoder, contents: Iterable[bytes]) -> list[bytes]:
        """Return what the vectors of contents are kept under: those of this model, task and way of keeping alone."""
        kept = repr((encoder.engine.fingerprint, self._dtype, self._pool_factor)).encode()
        return [digest([kept, encoder.task.encode(), content]) for content in contents]

    def get_many(self, keys: Iterable[bytes]) -> list[TokenVectors | None]:
        """Return the vectors under each key as they are kept, in one read; ``None`` where there are none."""
        return [None if content is None else from_bytes(content) for content in self._shelf.get_many(keys)]

    def put_many(self, entries: Iterable[tuple[bytes, TokenVectors]]) -> list[TokenVectors]:
        """Keep vectors. When it returns they are on disk, and stay there if the process is killed.

        Args:
            entries: Keys and the vectors that an engine computed.

        Returns:
            The vectors as they are kept, which is what `get_many` returns from now on.

        Raises:
            InputError: Vectors are none or not finite; ``index`` names the entry, and none is kept.
            StoreFullError: The disk is full, or an entry is larger than the limit allows.
            StoreError: The store is open for reading only.
        """
        entries = list(entries)
        kept = [self.as_kept(tokens, index=index) for index, (_, tokens) in enumerate(entries)]
        contents = ((key, to_bytes(tokens)) for (key, _), tokens in zip(entries, kept, strict=True))
        self._shelf.put_many(chain(self._new_notes(), contents))  # together: each transaction waits for the disk
        return kept

    def as_kept(self, tokens: TokenVectors, *, index: int | None = None) -> TokenVectors:
        """Return vectors pooled and in the store's dtype, without keeping them.

        Raises:
            InputError: They are none, or not finite.
        """
        with naming(index):
            (_,) = document_rows([tokens])
        if not np.isfinite(tokens.vectors).all():
            raise InputError(
                "token vectors must be finite to be kept, got NaN or infinity. Embed the item again, with another "
                "dtype of the engine's if it stays so.",
                index=index,
            )
        pooled = pool_tokens(tokens, self._pool_factor)
        vectors, scales = quantize(pooled.vectors, self._dtype)
        return replace(pooled, vectors=vectors, scales=scales)

    def warm(
        self,
        encoder: JinaEncoder,
        items: Iterable[Item],
        *,
        role: Role = "document",
        on_error: OnError = "raise",
        progress: bool = False,
    ) -> Warmed:
        """Compute and keep what is missing of an iterable of any length, in the memory of the items in flight.

        Stopped at any moment, it goes on where it was when it is called again.

        Args:
            encoder: Who computes.
            items: Texts and images.
            role: Whether they are what is searched (``"document"``) or what is searched for (``"query"``).
            on_error: A bad item raises in its turn; or ``"skip"`` to log it as a warning, and list it in the result.
            progress: Show a bar.

        Raises:
            InputError: An item cannot be embedded; ``index`` names it, and those before it are kept.
            OptionError: The role or the choice does not exist.
            EngineError: The engine did not start, was closed or died.
            StoreError: The store cannot be written.
        """
        return Warming(self, encoder, role=role, skipping=Skipping(on_error)).run(items, progress=progress)

    def __len__(self) -> int:
        """How many entries there are. An image of a file takes two: its vectors, and a note of what the file shows."""
        return len(self._shelf)

    @property
    def n_bytes(self) -> int:
        """What the entries take on disk."""
        return self._shelf.n_bytes

    def close(self) -> None:
        """Close. What was kept stays."""
        self._shelf.close()

    def _content_keys(self, requests: Sequence[Request]) -> list[bytes]:
        notes = Notes(requests)
        found = zip(notes.keys, self._shelf.get_many(notes.keys), strict=True)
        stored = {key: bytes(content) for key, content in found if content is not None}
        try:
            return list(notes.contents(ChainMap(stored, self._notes)))
        finally:  # also of those before a bad image: whoever leaves it out asks for the others again
            if not self.readonly:
                self._notes.update(notes.new.copy())

    def _new_notes(self) -> list[tuple[bytes, bytes]]:
        notes, self._notes = self._notes, {}
        return list(notes.items())
