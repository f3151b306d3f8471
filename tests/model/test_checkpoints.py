"""What a checkpoint says of itself is read as it stands, and what it lacks is named."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from jina_vllm_integrations import CheckpointError, ImageSizeError
from jina_vllm_integrations.model.checkpoints import Checkpoint, ImageGrid

GRID = ImageGrid(cell=28, min_pixels=3136, max_pixels=602112)


@pytest.fixture
def model(tmp_path, checkpoint):
    """Return a directory with the metadata files of the session's checkpoint, to be changed at will."""
    directory = tmp_path / "model"
    shutil.copytree(checkpoint, directory, ignore=shutil.ignore_patterns("*.safetensors"))
    return directory


@pytest.fixture
def edit(model):
    """Return a function that changes one of the model's JSON files."""

    def edit_json(name, change):
        content = json.loads((model / name).read_text(encoding="utf-8"))
        change(content)
        (model / name).write_text(json.dumps(content), encoding="utf-8")

    return edit_json


def test_the_facts_are_those_of_the_files(model, checkpoint):
    """Sizes, ids and limits come out as they were written."""
    facts = Checkpoint.read(model)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    assert facts.model == str(model)
    assert facts.hidden_size == config["text_config"]["hidden_size"]
    assert facts.max_tokens == config["text_config"]["max_position_embeddings"]
    assert facts.grid == GRID
    for name in ("vision_start", "vision_end", "image_pad"):
        token = facts.tokenizer.id_to_token(getattr(facts.special, name))
        assert token == f"<|{name}|>"


def test_the_flat_layout(model, edit):
    """Before transformers 5 the language model's values stood at the top level."""
    expected = Checkpoint.read(model)
    edit("config.json", lambda config: config.update(config.pop("text_config")))
    edit("config.json", lambda config: config.update(model_type="qwen2_5_vl"))  # the language model has its own
    assert Checkpoint.read(model) == expected


def test_pixel_limits_under_their_newer_names(model, edit):
    """Newer processors call them the shortest and the longest edge."""

    def rename(processor):
        del processor["min_pixels"], processor["max_pixels"]
        processor["size"] = {"shortest_edge": 784, "longest_edge": 78400}

    edit("preprocessor_config.json", rename)
    assert Checkpoint.read(model).grid == ImageGrid(cell=28, min_pixels=784, max_pixels=78400)


def test_pixel_limits_under_both_names(model, edit):
    """The older names win, as they do in the processor."""
    sizes = {"shortest_edge": 784, "longest_edge": 78400}
    edit("preprocessor_config.json", lambda processor: processor.update(size=sizes))
    assert Checkpoint.read(model).grid == GRID
    edit("preprocessor_config.json", lambda processor: processor.update(min_pixels=None, max_pixels=None))
    assert Checkpoint.read(model).grid == ImageGrid(cell=28, min_pixels=784, max_pixels=78400)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"matryoshka_dims": [64, 128]}, (64, 128, 256)),
        ({"matryoshka_dimensions": [256, 64]}, (64, 256)),
        ({"matryoshka_dims": [32], "matryoshka_dimensions": [64]}, (32, 256)),
        ({"matryoshka_dims": []}, (256,)),
        ({"matryoshka_dims": None}, (256,)),
        ({}, (256,)),
    ],
)
def test_matryoshka_sizes(model, edit, written, read):
    """Jina's key comes before vLLM's; the full size is always one of them."""

    def rewrite(config):
        config.pop("matryoshka_dimensions")
        config.update(written)

    edit("config.json", rewrite)
    assert Checkpoint.read(model).matryoshka_dimensions == read


def test_overrides_count_as_if_they_were_written(model):
    """The ``hf_overrides`` of vLLM replace values of the file, nested ones one by one."""
    overrides = {"matryoshka_dimensions": [32], "text_config": {"max_position_embeddings": 1000}}
    facts = Checkpoint.read(model, overrides=overrides)
    assert facts.matryoshka_dimensions == (32, 256)
    assert facts.max_tokens == 1000
    assert facts.hidden_size == Checkpoint.read(model).hidden_size


@pytest.mark.parametrize("names", [["config.json"], ["tokenizer.json", "preprocessor_config.json"]])
def test_missing_files_are_all_listed(model, names):
    """One error for all of them, and none for those that are there."""
    for name in names:
        (model / name).unlink()
    with pytest.raises(CheckpointError, match=r"lacks .* Fetch them\.") as caught:
        Checkpoint.read(model)
    _, _, lacking = str(caught.value).partition("lacks ")
    for name in ("config.json", "preprocessor_config.json", "tokenizer.json"):
        assert (name in lacking.removesuffix(". Fetch them.").split(", ")) == (name in names)


def test_an_empty_directory(tmp_path):
    """A directory without anything lacks all three."""
    with pytest.raises(CheckpointError, match=r"lacks config\.json, preprocessor_config\.json, tokenizer\.json"):
        Checkpoint.read(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"version https://git-lfs", b"\xff\xfe{}"])
def test_not_json(model, name, content):
    """An aborted download is named."""
    (model / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}' is not readable JSON: .* Fetch it again\."):
        Checkpoint.read(model)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(("content", "kind"), [("[]", "list"), ("3", "int"), ("null", "NoneType")])
def test_not_an_object(model, name, content, kind):
    """JSON of another shape is named, too."""
    (model / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name}' must hold a JSON object, got a {kind}"):
        Checkpoint.read(model)


@pytest.mark.parametrize("model_type", ["qwen3_vl", None])
def test_another_model(model, edit, model_type):
    """Another architecture is refused with a hint at the right models."""
    edit("config.json", lambda config: config.update(model_type=model_type))
    with pytest.raises(CheckpointError, match=rf"has {model_type!r}\. Use a jinaai/jina-embeddings-v4-vllm-\* model"):
        Checkpoint.read(model)


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("config.json", "text_config.hidden_size"),
        ("config.json", "text_config.max_position_embeddings"),
        ("config.json", "vision_config"),
        ("config.json", "vision_config.patch_size"),
        ("config.json", "vision_config.spatial_merge_size"),
        ("config.json", "vision_start_token_id"),
        ("config.json", "vision_end_token_id"),
        ("config.json", "image_token_id"),
        ("preprocessor_config.json", "min_pixels"),
        ("preprocessor_config.json", "max_pixels"),
    ],
)
def test_a_missing_value_is_named(model, edit, file, path):
    """The error says which key is not there, in the words of the file or its newer ones."""
    *parents, key = path.split(".")
    renamed = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}

    def remove(content):
        for parent in parents:
            content = content[parent]
        del content[key]

    edit(file, remove)
    with pytest.raises(CheckpointError, match=rf"is damaged: .*'{renamed.get(key, key)}'"):
        Checkpoint.read(model)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"text_config": None}),
        ("config.json", {"text_config": {"hidden_size": "big", "max_position_embeddings": 9}}),
        ("config.json", {"vision_config": 5}),
        ("config.json", {"image_token_id": "<|image_pad|>"}),
        ("config.json", {"matryoshka_dims": "small"}),
        ("config.json", {"matryoshka_dims": 64}),
        ("preprocessor_config.json", {"min_pixels": "few"}),
        ("preprocessor_config.json", {"min_pixels": None, "size": [1]}),
    ],
)
def test_a_value_of_the_wrong_type(model, edit, file, change):
    """Nonsense in the files is a damaged checkpoint, not an error of Python's."""
    edit(file, lambda content: content.update(change))
    with pytest.raises(CheckpointError, match="is damaged"):
        Checkpoint.read(model)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": {}}'])
def test_a_damaged_tokenizer(model, content):
    """The file is named when the tokenizer is first needed."""
    (model / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json' cannot be read: .* Fetch it again\."):
        _ = Checkpoint.read(model).tokenizer


def test_no_weights(model, checkpoint):
    """Metadata alone can be read, but not served."""
    facts = Checkpoint.read(model)
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors file\. Fetch the weights, or .*load_format='dummy'"):
        facts.require_weights()
    Checkpoint.read(checkpoint).require_weights()


def test_no_weights_stop_an_engine_before_vllm_starts(model):
    """The engine asks for weights, unless they are to be random."""
    from jina_vllm_integrations import InProcessEngine, JinaEncoder

    with InProcessEngine(model) as engine, pytest.raises(CheckpointError, match="safetensors"):
        JinaEncoder(engine, task="retrieval").embed(["a"], role="query")
    with InProcessEngine(model, load_format="dummy") as engine:
        assert engine.checkpoint.hidden_size == 256


@pytest.mark.parametrize("name", ["jinaai/jina-embeddings-v4-vllm-retrieval", "no-such/model_1.5"])
def test_a_hub_id_without_network(name):
    """What cannot be fetched is told with what to try."""
    with pytest.raises(CheckpointError, match=rf"no directory '{name}' exists, .* or pass a local directory\."):
        Checkpoint.read(name)


@pytest.mark.parametrize("name", ["missing", "/no/such/model", "./missing", "../missing", "own/a--b", "a/b/c", "~/x"])
def test_neither_directory_nor_hub_id(name, tmp_path, monkeypatch):
    """A mistyped path is not looked for on the hub."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=rf"'{name}'"):
        Checkpoint.read(name)


def test_a_file_is_no_model(model):
    """The directory is the model, not a file in it."""
    with pytest.raises(CheckpointError, match=r"a model is a directory or a hub id .*config\.json', which is neither"):
        Checkpoint.read(model / "config.json")


def processor_grid(width, height, grid=GRID):
    """Return the rows and columns that transformers' image processor makes of a size."""
    limits = {"factor": grid.cell, "min_pixels": grid.min_pixels, "max_pixels": grid.max_pixels}
    resized_height, resized_width = smart_resize(height, width, **limits)
    return resized_height // grid.cell, resized_width // grid.cell


def assert_processor_agrees(sizes, grid=GRID):
    """Compare the grid of every size that the processor takes with the processor's."""
    for width, height in sizes:
        if max(width, height) <= 200 * min(width, height):
            assert grid.of(width, height) == processor_grid(width, height, grid), (width, height)


@pytest.mark.parametrize(
    "grid",
    [GRID, GRID.with_limits({"max_pixels": 50_000}), ImageGrid(cell=32, min_pixels=65536, max_pixels=16777216)],
    ids=["jina", "few pixels", "another cell"],
)
def test_the_grid_of_any_size_is_the_processors(grid):
    """Thousands of sizes from one pixel to a large scan."""
    sizes = np.exp(np.random.default_rng(0).uniform(0, np.log(20_000), (5000, 2))).astype(int).tolist()
    assert_processor_agrees(sizes, grid)


def test_the_grid_of_small_sizes_is_the_processors():
    """Every size below the lower limit, where a side is rounded up."""
    assert_processor_agrees((width, height) for width in range(1, 80) for height in range(1, 80))


def test_the_grid_at_exact_multiples_is_the_processors():
    """Sizes that shrink to a whole number of cells: the last bit of a division decides."""
    cells = GRID.max_pixels // GRID.cell**2
    scales = {Fraction(p, q) for p in range(1, 40) for q in range(1, 40)}
    sides = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    sizes = [(28 * rows * scale, 28 * columns * scale) for rows, columns in sides for scale in scales]
    whole = [(int(width), int(height)) for width, height in sizes if width.denominator == height.denominator == 1]
    assert len(whole) > 1000
    assert_processor_agrees(whole)


@pytest.mark.parametrize(("size", "fine"), [((200, 1), True), ((201, 1), False), ((1, 200), True), ((10, 2001), False)])
def test_what_is_too_flat_is_the_processors_rule(size, fine):
    """Two hundred to one is taken by both, anything flatter by neither."""
    if fine:
        assert GRID.of(*size) == processor_grid(*size)
        return
    with pytest.raises(ImageSizeError, match=rf"up to 200 times as long as wide, got {size[0]}x{size[1]}"):
        GRID.of(*size)
    with pytest.raises(ValueError, match="aspect ratio"):
        processor_grid(*size)


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ({}, (3136, 602112)),
        ({"max_pixels": 78400}, (3136, 78400)),
        ({"min_pixels": 784, "max_pixels": 78400}, (784, 78400)),
        ({"size": {"longest_edge": 78400}}, (3136, 78400)),
        ({"size": {"shortest_edge": 784, "longest_edge": 78400}}, (784, 78400)),
        ({"size": {"longest_edge": 1}, "max_pixels": 78400}, (3136, 78400)),
        ({"size": None, "min_pixels": None, "max_pixels": 78400}, (3136, 78400)),
        ({"do_convert_rgb": True}, (3136, 602112)),
    ],
)
def test_pixel_limits_given_to_vllm(options, limits):
    """``mm_processor_kwargs`` set the limits under either name; the older one wins, and none changes nothing."""
    grid = GRID.with_limits(options)
    assert (grid.min_pixels, grid.max_pixels) == limits
    assert grid.cell == GRID.cell


def test_an_engine_counts_cells_under_its_own_limits(checkpoint):
    """An engine that was told to shrink pages says so in its grid, without being started."""
    from jina_vllm_integrations import InProcessEngine

    with InProcessEngine(checkpoint, mm_processor_kwargs={"max_pixels": 78400}) as engine:
        rows, columns = engine.checkpoint.grid.of(2480, 3508)
    assert rows * columns <= 100
    assert rows * columns < np.prod(GRID.of(2480, 3508)) / 5
