"""Found pages with their pictures inside, as LlamaIndex's multimodal query engines want them."""

# Pydantic reads the annotations of this module, so they are not postponed.
import logging
from typing import Any

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from pydantic import ConfigDict, Field, PrivateAttr

from jina_vllm_integrations.adapters.chosen_access import ChosenAccess
from jina_vllm_integrations.adapters.found import Said
from jina_vllm_integrations.adapters.image_access import ImageAccess
from jina_vllm_integrations.adapters.pictures import MAX_PIXELS, Pictures
from jina_vllm_integrations.adapters.thumbnails import MIME_TYPE
from jina_vllm_integrations.errors import InputError
from jina_vllm_integrations.images import ImageLimits
from jina_vllm_integrations.llama_index.found_nodes import named_images
from jina_vllm_integrations.llama_index.node_images import held_image, with_picture, without_image

logger = logging.getLogger(__name__)


class PageImagePostprocessor(ImageAccess, BaseNodePostprocessor):
    """Puts pictures of found pages into their nodes, for a query engine whose language model sees them.

    LlamaIndex's query engines with ``multimodal=True`` open a node's image by themselves, which they cannot where it is
    a page of a PDF, and would without asking whether they may. This one, the last of the postprocessors, draws or reads
    it, and returns a copy of the node that holds the picture as JPEG. A node without an image stays as it is. One whose
    image cannot be had comes back as its text, and the log says why, once; all others are shown nonetheless.

    Asynchronous calls draw in a thread.

    Args:
        max_pixels: How many a picture may have; a larger one is scaled down.
        image_keys: Where metadata may name an image of a node that holds none, as for `JinaVLLMRerank`, like the
            following two.
        allowed_image_roots: The folders whose files nodes may name.
        allow_image_urls: Fetch http and https URLs that nodes name, from public addresses only.
        image_limits: What an image may cost.

    Raises:
        ValidationError: Pydantic's, a ``ValueError``: a field or value that does not exist.

    Example:
        >>> pictures = PageImagePostprocessor(allowed_image_roots=(Path("scans"),))
        >>> engine = RetrieverQueryEngine.from_args(
        ...     retriever, llm=llm, node_postprocessors=[pictures], multimodal=True
        ... )
        >>> engine.query("What is the total?")
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)  # query engines set the callback manager

    max_pixels: int = Field(default=MAX_PIXELS, ge=1, strict=True)
    image_limits: ImageLimits = ImageLimits()

    _said: Said = PrivateAttr(default_factory=Said)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex serialises it."""
        return "PageImagePostprocessor"

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return the settings as JSON takes them."""
        return super().to_dict(**{"mode": "json", **options})

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], _query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """Return the nodes in their order and with their scores.

        Raises:
            MissingExtraError: There is a page of a PDF, and pypdfium2 is not installed.
        """
        access = ChosenAccess(images=self.page_images().at_once(), limits=self.image_limits)
        pictures = Pictures(access=access, max_pixels=self.max_pixels)
        return [self._shown(found, pictures) for found in nodes]

    def _shown(self, found: NodeWithScore, pictures: Pictures) -> NodeWithScore:
        node = found.node
        images = named_images(node, self.image_keys)
        if not images:
            return found
        try:
            shown = with_picture(node, pictures.file(images), MIME_TYPE)
        except InputError as error:
            if self._said.first(node.node_id, str(error)):
                logger.warning("%s, which was found, is shown as a text, without its image: %s", node.node_id, error)
            return found if held_image(node) is None else NodeWithScore(node=without_image(node), score=found.score)
        return NodeWithScore(node=shown, score=found.score)
