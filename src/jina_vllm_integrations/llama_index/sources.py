"""Nodes that came from no document: each is its own source, so that LlamaIndex finds it again by its id.

An `IngestionPipeline` takes what it is given for documents, and deletes what has changed or gone by their ids: stores
look for those in the ``ref_doc_id`` that a node's source has. A node parser sets it; a page that is embedded as it is
has none, and would stay for ever, or twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_index.core.schema import NodeRelationship, RelatedNodeInfo

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode


def with_source(node: BaseNode) -> BaseNode:
    """Return a copy that has a source; a node with one as it is.

    The node itself stays without: a pipeline puts it into its document store, which cannot delete what is its own
    source.
    """
    if NodeRelationship.SOURCE in node.relationships:
        return node
    own = RelatedNodeInfo(node_id=node.node_id)
    return node.model_copy(update={"relationships": {**node.relationships, NodeRelationship.SOURCE: own}})
