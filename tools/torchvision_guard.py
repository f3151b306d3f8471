"""Lets torchvision import beside a torch that its compiled operators were not built for.

PyTorch's own index has a torchvision for every build of torch. Elsewhere there is only the one for
CUDA, whose library a CPU torch cannot load. Importing it then stops at `operator torchvision::nms
does not exist`, although its image transforms are plain PyTorch. Declaring the two operators that
the import looks up is enough; calling them still fails.

`environment.py` puts this module into an environment's site-packages, with a `.pth` file that imports
it whenever an interpreter starts, and does so only where the compiled operators do not load.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class _DeclareOperators(MetaPathFinder):
    """Declares the operators when torchvision is first looked for, so that no interpreter's start pays for torch."""

    library: Any  # the declarations last as long as this object

    def find_spec(self, fullname: str, *_: object) -> None:
        """Declare them, and leave the finding to the next in line."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch.library

            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in _SCHEMAS:
                self.library.define(schema)


finder = _DeclareOperators()
sys.meta_path.insert(0, finder)
