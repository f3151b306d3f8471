"""What entries take of the pages of an LMDB file, and how many pages a transaction may change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jina_vllm_integrations.errors import StoreFullError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import lmdb

_PAGE = 4096
_PAGE_HEADER = 16
# A key and a value that are longer together get whole pages for the value; shorter ones share a page with others.
_LONGEST_SHARED = 2030
# What LMDB adds to a key and a value, and what is noted of their use: the entry's own node, and two of numbers.
_NODES = 60
# Pages that are shared are a half to two thirds full, because keys come in any order.
_SPARSE = 2
# One transaction writes this share of the file.
_LOT = 16
# LMDB writes a page anew when part of it changes. An entry that comes or goes changes two: its own, and one where its
# use is noted. For one that comes two may go.
_CHANGED_BY_ONE = 3 * 2 * _PAGE


def room(key: bytes, size: int) -> int:
    """Return how many bytes an entry takes on disk: pages of its own, and its share of others."""
    own = _own_pages(key, size)
    return own + _SPARSE * (3 * len(key) + _NODES + (0 if own else size))


def n_bytes_in_use(transaction: lmdb.Transaction, databases: Iterable[lmdb._Database]) -> int:
    """Return what the pages take that hold something."""
    own = sum(int(transaction.stat(database)["overflow_pages"]) for database in databases) * _PAGE
    return own + _n_bytes_shared(transaction, databases)


def most_changes(max_bytes: int) -> int:
    """Return how many entries one transaction may delete or note the use of."""
    return 2 * (max_bytes // _LOT) // _CHANGED_BY_ONE


def most_evictions(transaction: lmdb.Transaction, databases: Iterable[lmdb._Database], max_bytes: int) -> int | None:
    """Return how many entries one transaction may evict; ``None`` for all, where it may change every shared page.

    A file without room gets none from many transactions: each needs pages that the one before has not freed yet.
    """
    can_change_all = _n_bytes_shared(transaction, databases) <= max_bytes // _LOT
    return None if can_change_all else most_changes(max_bytes)


def lots(entries: Iterable[tuple[bytes, bytes]], max_bytes: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield as many entries as one transaction may write.

    Raises:
        StoreFullError: An entry is larger than that.
    """
    most = max_bytes // _LOT
    lot: list[tuple[bytes, bytes]] = []
    n_bytes = 0
    for key, content in entries:
        if len(content) > most:
            raise StoreFullError(
                f"an entry may take a {_LOT}th of the store's max_bytes={max_bytes:,}, this one takes "
                f"{len(content):,} bytes. Raise max_bytes, or keep the vectors in fewer bytes."
            )
        changed = _own_pages(key, len(content)) + _CHANGED_BY_ONE
        if lot and n_bytes + changed > most:
            yield lot
            lot, n_bytes = [], 0
        lot.append((key, content))
        n_bytes += changed
    if lot:
        yield lot


def _n_bytes_shared(transaction: lmdb.Transaction, databases: Iterable[lmdb._Database]) -> int:
    stats = [transaction.stat(database) for database in databases]
    return sum(int(stat["branch_pages"] + stat["leaf_pages"]) for stat in stats) * _PAGE


def _own_pages(key: bytes, size: int) -> int:
    return 0 if len(key) + size <= _LONGEST_SHARED else -(-(size + _PAGE_HEADER) // _PAGE) * _PAGE
