"""Train the miniature from nothing and write it as a base repository.

The README beside this file has the commands, times and results.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pages
import scenes
import snippets
import torch
from batches import WORDS, Batch, Steps, Texts, to_device
from losses import contrast, dense_scores, late_scores
from model import Miniature, dense_vectors
from repository import HIDDEN_SIZE, small_config, train_tokenizer, write_repository
from search_sets import SET_NAMES, ndcg, search_set
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from search_sets import Document, SearchSet
    from tokenizers import Tokenizer

MATRYOSHKA = (HIDDEN_SIZE, HIDDEN_SIZE // 2, HIDDEN_SIZE // 4)
_WARM_UP = 500
_TOKENIZER_TEXTS = 20_000
_MOST_SHARP = 100.0


class Trainee(nn.Module):
    """The model, and what only training needs: how sharp scores are, and a reader of words in a page's cells."""

    def __init__(self, model: Miniature) -> None:
        super().__init__()
        self.model = model
        self.sharpness = nn.Parameter(torch.full((2,), math.log(20.0)))
        self.reader = nn.Linear(HIDDEN_SIZE, len(WORDS))

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return what a batch costs: dense vectors of each size, late interaction, and misread words."""
        dense_sharpness, late_sharpness = self.sharpness.exp().clamp(max=_MOST_SHARP)
        queries, query_tokens = self._encode(batch.queries, batch.task)
        if isinstance(batch.documents, Texts):
            documents, document_tokens = self._encode(batch.documents, batch.task)
            lengths = batch.documents.lengths
        else:
            states, span, cells = self.model.image_states(batch.documents, batch.task)
            documents, document_tokens = dense_vectors(states[:, span]), self.model.token_vectors(states, batch.task)
            lengths = None
        dense = [
            contrast(dense_scores(queries, documents, size) * dense_sharpness, batch.answers, batch.related)
            for size in MATRYOSHKA
        ]
        late = late_scores(query_tokens, batch.queries.lengths, document_tokens, lengths) * late_sharpness
        losses = {"dense": sum(dense) / len(dense), "late": contrast(late, batch.answers, batch.related)}
        if batch.words is not None:
            read = self.reader(cells).flatten(0, 1).float()
            weight = torch.ones(len(WORDS), device=read.device)
            weight[0] = 0.1  # most cells are empty
            losses["read"] = functional.cross_entropy(read, batch.words.flatten(), weight=weight) / 2
        return losses

    def _encode(self, texts: Texts, task: str) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.model.text_states(texts.token_ids, task)
        return dense_vectors(states, texts.lengths), self.model.token_vectors(states, task)


def main() -> None:
    """Train, and say how it goes."""
    options = _options()
    device = torch.device(options.device)
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    tokenizer = train_tokenizer(_some_texts(Random(f"tokenizer {options.seed}")))
    config = small_config(tokenizer)
    trainee = Trainee(Miniature(config, tokenizer)).to(device)
    optimizer = _optimizer(trainee, options.rate)
    step, seconds = 0, 0.0
    if options.state.is_file():
        state = torch.load(options.state, map_location=device, weights_only=True)
        trainee.load_state_dict(state["trainee"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
    began = time.monotonic() - seconds
    stop_at = time.monotonic() + options.seconds
    log: dict[str, float] = {}
    for batches in _loader(tokenizer, options, step):
        if step == options.steps or time.monotonic() > stop_at:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.rate * _schedule(step, options.steps)
        for batch in batches:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                losses = trainee.loss(to_device(batch, device))
            sum(losses.values()).backward()
            if step % options.every == 0:
                log |= {f"{batch.name} {name}": round(loss.item(), 3) for name, loss in losses.items()}
        nn.utils.clip_grad_norm_(trainee.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % options.every == 0:
            _say({"step": step, "seconds": round(time.monotonic() - began), **log})
        step += 1
        if step % options.validate == 0:
            _say({"step": step, "validation": validate(trainee.model, tokenizer, options.validation_size)})
    seconds = time.monotonic() - began
    state = {"trainee": trainee.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "seconds": seconds}
    torch.save(state, options.state)
    write_repository(options.out, trainee.model, config, tokenizer)
    _say(
        {
            "step": step,
            "seconds": round(seconds),
            "validation": validate(trainee.model, tokenizer, options.validation_size),
        }
    )


@torch.inference_mode()
def validate(model: Miniature, tokenizer: Tokenizer, size: int) -> dict[str, float]:
    """Return nDCG@5 on small sets of the validation data, dense and by late interaction."""
    found = {}
    for name in SET_NAMES:
        chosen = search_set(name, "validation", size=size)
        dense, late = _score(model, tokenizer, chosen)
        found[name] = ndcg(dense, chosen.languages)["all"]
        found[f"{name}, late"] = ndcg(late, chosen.languages)["all"]
    return found


def _score(model: Miniature, tokenizer: Tokenizer, chosen: SearchSet) -> tuple[np.ndarray, np.ndarray]:
    """Return how well each document of a set answers each query, by both ways of scoring."""
    device = model.head.device
    steps = Steps(tokenizer, size=0, seed=0)
    texts = to_device(steps.texts(chosen.queries, "query", chosen.task), device)
    states = model.text_states(texts.token_ids, chosen.task)
    queries, query_tokens = dense_vectors(states, texts.lengths), model.token_vectors(states, chosen.task)
    dense, late = np.empty((2, len(chosen.queries), len(chosen.documents)), dtype=np.float32)
    for positions in _alike(chosen.documents):
        documents = [chosen.documents[position] for position in positions]
        lengths = None
        if isinstance(documents[0], str):
            passages = to_device(steps.texts(documents, "document", chosen.task), device)
            lengths = passages.lengths
            states = model.text_states(passages.token_ids, chosen.task)
            vectors = dense_vectors(states, lengths)
        else:
            pixels = np.stack([np.asarray(document) for document in documents])
            pixels = pixels.reshape(*pixels.shape[:3], -1)
            states, span, _ = model.image_states(torch.from_numpy(pixels).to(device), chosen.task)
            vectors = dense_vectors(states[:, span])
        tokens = model.token_vectors(states, chosen.task)
        dense[:, positions] = dense_scores(queries, vectors, HIDDEN_SIZE).cpu()
        late[:, positions] = late_scores(query_tokens, texts.lengths, tokens, lengths).cpu()
    return dense, late


def _alike(documents: Sequence[Document]) -> list[list[int]]:
    """Return the positions of documents that fit one batch: texts, or pictures of one size."""
    sizes = defaultdict(list)
    for position, document in enumerate(documents):
        sizes[None if isinstance(document, str) else document.size].append(position)
    return [positions[start : start + 64] for positions in sizes.values() for start in range(0, len(positions), 64)]


def _some_texts(random: Random) -> Iterator[str]:
    """Yield training texts of all kinds, for the tokenizer."""
    for _ in range(_TOKENIZER_TEXTS // 4):
        page = pages.draw_page(random, "train")
        fact = random.choice(sorted(pages.facts(page), key=str))
        scene, snippet = scenes.draw_scene(random, "train"), snippets.draw_snippet(random, "train")
        language = random.choice(scenes.LANGUAGES)
        yield from ("Query: " + pages.ask(fact, language, random), "Passage: " + "\n".join(page.lines))
        yield from (scenes.caption(scene, language, random), "user\nDescribe the image.\n")
        yield from (snippets.description(snippet, random), snippets.source(snippet, random))


def _loader(tokenizer: Tokenizer, options: argparse.Namespace, step: int) -> Iterator[list[Batch]]:
    # After an interruption, data that was not seen before.
    steps = Steps(tokenizer, size=options.batch, seed=options.seed + step)
    if not options.workers:
        return iter(steps)
    loader = DataLoader(
        steps,
        batch_size=None,
        num_workers=options.workers,
        pin_memory=options.device == "cuda",
        prefetch_factor=4,
        multiprocessing_context="fork",
    )
    return chain(loader)


def _optimizer(trainee: Trainee, rate: float) -> torch.optim.Optimizer:
    matrices = [weight for weight in trainee.parameters() if weight.ndim > 1]
    others = [weight for weight in trainee.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _schedule(step: int, steps: int) -> float:
    """Rise to one, then fall to nothing along a cosine."""
    return min(1.0, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


def _say(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the directory to write")
    parser.add_argument("--steps", type=int, default=7_000)
    parser.add_argument("--batch", type=int, default=256, help="documents a batch; a step has two batches")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that make up data; 0: none")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop earlier; the same command goes on")
    parser.add_argument("--state", type=Path, default=Path("training.pt"), help="what going on needs")
    parser.add_argument("--every", type=int, default=50, help="steps between two reports")
    parser.add_argument("--validate", type=int, default=1000, help="steps between two validations")
    parser.add_argument("--validation-size", type=int, default=200, help="queries and documents a validation set")
    return parser.parse_args()


if __name__ == "__main__":
    main()
