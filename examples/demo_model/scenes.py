"""Scenes: coloured shapes in a picture, and what they are called in four languages."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from PIL import Image, ImageDraw
from splits import Split, split_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

Language = Literal["en", "de", "ja", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

# A multiple of a cell's 28 pixels, so that the processor has nothing to resize.
SIZES = ((140, 140), (168, 140), (140, 168))
COUNTS = (1, 2, 3, 4)
COLOURS = {
    "red": (208, 32, 32),
    "blue": (32, 64, 208),
    "green": (32, 144, 48),
    "yellow": (240, 208, 16),
    "orange": (240, 128, 16),
    "purple": (128, 32, 160),
    "black": (24, 24, 24),
    "grey": (136, 136, 136),
}
PAIRS = (("left", "right"), ("top", "bottom"))
PLACES = ("left", "right", "top", "bottom", "middle")
_SMOOTH = 3  # drawn this much larger, then reduced


@dataclass(frozen=True)
class Group:
    """Equal shapes in one place."""

    count: int
    colour: str
    shape: str
    place: str


@dataclass(frozen=True)
class Scene:
    """One group anywhere, or two in opposite places. Equal scenes mean the same and may look different."""

    groups: tuple[Group, ...]

    @property
    def split(self) -> Split:
        """The part of the data that it belongs to, and all its captions with it."""
        return split_of(repr(self.groups))


def draw_scene(random: Random, split: Split) -> Scene:
    """Make up a scene of a part of the data."""
    while True:
        places = random.choice(PAIRS) if random.random() < 0.75 else (random.choice(PLACES),)  # noqa: PLR2004
        scene = Scene(tuple(_draw_group(random, place) for place in places))
        if scene.split == split and len({(group.colour, group.shape) for group in scene.groups}) == len(places):
            return scene


def draw_near_misses(random: Random, split: Split) -> tuple[Scene, Scene]:
    """Make up two scenes of a part of the data that differ in one thing, or whose groups changed places."""
    while True:
        scene = draw_scene(random, split)
        others = [other for other in _neighbours(scene) if other.split == split]
        if others:
            return scene, random.choice(others)


def _neighbours(scene: Scene) -> Iterator[Scene]:
    groups = scene.groups
    if len(groups) > 1:
        first, second = groups
        yield Scene((replace(second, place=first.place), replace(first, place=second.place)))
    for index, group in enumerate(groups):
        changed = [replace(group, count=count) for count in COUNTS]
        changed += [replace(group, colour=colour) for colour in COLOURS]
        changed += [replace(group, shape=shape) for shape in _OUTLINES]
        if len(groups) == 1:
            changed += [replace(group, place=place) for place in PLACES]
        yield from (Scene((*groups[:index], other, *groups[index + 1 :])) for other in changed if other != group)


def paint(scene: Scene, random: Random, size: tuple[int, int] | None = None) -> Image.Image:
    """Paint a scene. Sizes, distances and the background vary.

    Args:
        scene: What to paint.
        random: Decides what the scene leaves open.
        size: Width and height in pixels; one of `SIZES` by default.
    """
    width, height = size or random.choice(SIZES)
    background = tuple(random.randrange(232, 256) for _ in range(3))
    picture = Image.new("RGB", (width * _SMOOTH, height * _SMOOTH), background)
    draw = ImageDraw.Draw(picture)
    for group in scene.groups:
        for x, y, radius in _spots(group, width, height, random):
            colour = tuple(min(255, max(0, value + random.randrange(-14, 15))) for value in COLOURS[group.colour])
            outline = _OUTLINES[group.shape]
            points = [(_SMOOTH * (x + radius * dx), _SMOOTH * (y + radius * dy)) for dx, dy in outline]
            draw.polygon(points, fill=colour)
    return picture.reduce(_SMOOTH)


def caption(scene: Scene, language: Language, random: Random) -> str:
    """Say in a language what a scene shows, in one of several ways."""
    groups = list(scene.groups)
    random.shuffle(groups)
    return _CAPTIONS[language](groups, random)


def _draw_group(random: Random, place: str) -> Group:
    return Group(random.choice(COUNTS), random.choice(list(COLOURS)), random.choice(list(_OUTLINES)), place)


def _spots(group: Group, width: int, height: int, random: Random) -> list[tuple[float, float, float]]:
    """Return centre and radius of each shape: distinct cells of a 2 x 2 grid in the group's half of the picture."""
    left, top, right, bottom = {
        "left": (0.0, 0.0, 0.5, 1.0),
        "right": (0.5, 0.0, 1.0, 1.0),
        "top": (0.0, 0.0, 1.0, 0.5),
        "bottom": (0.0, 0.5, 1.0, 1.0),
        "middle": (0.25, 0.25, 0.75, 0.75),
    }[group.place]
    cell_width, cell_height = (right - left) * width / 2, (bottom - top) * height / 2
    spots = []
    for cell in random.sample(range(4), group.count):
        radius = min(cell_width, cell_height) / 2 * random.uniform(0.62, 0.92)
        x = left * width + cell_width * (cell % 2 + 0.5) + random.uniform(-1, 1) * (cell_width / 2 - radius)
        y = top * height + cell_height * (cell // 2 + 0.5) + random.uniform(-1, 1) * (cell_height / 2 - radius)
        spots.append((x, y, radius))
    return spots


def _round(corners: int, radii: tuple[float, ...] = (1.0,), turn: float = -0.25) -> list[tuple[float, float]]:
    """Return corners around a centre, at distances that alternate."""
    angles = [2 * math.pi * (corner / corners + turn) for corner in range(corners)]
    return [
        (radii[corner % len(radii)] * math.cos(angle), radii[corner % len(radii)] * math.sin(angle))
        for corner, angle in enumerate(angles)
    ]


def _heart() -> list[tuple[float, float]]:
    angles = [2 * math.pi * step / 40 for step in range(40)]
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in angles
    ]


_ARM = 0.36
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _round(48),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -0.95), (0.95, 0.8), (-0.95, 0.8)],
    "star": _round(10, (1.0, 0.42)),
    "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)],
    "cross": [
        (-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM),
        (_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM),
    ],
    "heart": _heart(),
}  # fmt: skip
SHAPES = tuple(_OUTLINES)


def _english(groups: list[Group], random: Random) -> str:
    numbers = {2: "two", 3: "three", 4: "four"}
    plurals = {"cross": "crosses"}
    places = {
        "left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom",
        "middle": "in the middle",
    }  # fmt: skip

    def name(group: Group) -> str:
        if group.count == 1:
            return f"{'an' if group.colour == 'orange' else 'a'} {group.colour} {group.shape}"
        return f"{numbers[group.count]} {group.colour} {plurals.get(group.shape, group.shape + 's')}"

    return _sentence(
        [(name(group), places[group.place]) for group in groups],
        random,
        plain=" and ",
        framed=("a picture of ", "you can see ", ""),
    )


def _german(groups: list[Group], random: Random) -> str:
    numbers = {2: "zwei", 3: "drei", 4: "vier"}
    nouns = {
        "circle": ("m", "Kreis", "Kreise"), "square": ("n", "Quadrat", "Quadrate"),
        "triangle": ("n", "Dreieck", "Dreiecke"), "star": ("m", "Stern", "Sterne"),
        "diamond": ("f", "Raute", "Rauten"), "cross": ("n", "Kreuz", "Kreuze"), "heart": ("n", "Herz", "Herzen"),
    }  # fmt: skip
    colours = {
        "red": "rot", "blue": "blau", "green": "grün", "yellow": "gelb", "orange": "orangefarben",
        "purple": "violett", "black": "schwarz", "grey": "grau",
    }  # fmt: skip
    endings = {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")}
    places = {"left": "links", "right": "rechts", "top": "oben", "bottom": "unten", "middle": "in der Mitte"}

    def name(group: Group) -> str:
        gender, one, many = nouns[group.shape]
        colour = colours[group.colour]
        if group.count == 1:
            article, ending = endings[gender]
            return f"{article} {colour}{ending} {one}"
        return f"{numbers[group.count]} {colour}e {many}"

    return _sentence(
        [(name(group), places[group.place]) for group in groups],
        random,
        plain=" und ",
        framed=("zu sehen: ", "das Bild zeigt: ", ""),
    )


def _spanish(groups: list[Group], random: Random) -> str:
    numbers = {2: "dos", 3: "tres", 4: "cuatro"}
    nouns = {
        "circle": ("m", "círculo", "círculos"), "square": ("m", "cuadrado", "cuadrados"),
        "triangle": ("m", "triángulo", "triángulos"), "star": ("f", "estrella", "estrellas"),
        "diamond": ("m", "rombo", "rombos"), "cross": ("f", "cruz", "cruces"), "heart": ("m", "corazón", "corazones"),
    }  # fmt: skip
    colours = {
        "red": "rojo", "blue": "azul", "green": "verde", "yellow": "amarillo", "orange": "naranja",
        "purple": "morado", "black": "negro", "grey": "gris",
    }  # fmt: skip
    places = {
        "left": "a la izquierda", "right": "a la derecha", "top": "arriba", "bottom": "abajo",
        "middle": "en el centro",
    }  # fmt: skip

    def name(group: Group) -> str:
        gender, one, many = nouns[group.shape]
        colour = colours[group.colour]
        if colour.endswith("o") and gender == "f":
            colour = colour[:-1] + "a"
        if group.count == 1:
            return f"{'una' if gender == 'f' else 'un'} {one} {colour}"
        if colour != "naranja":
            colour += "es" if colour in {"azul", "gris"} else "s"
        return f"{numbers[group.count]} {many} {colour}"

    return _sentence(
        [(name(group), places[group.place]) for group in groups],
        random,
        plain=" y ",
        framed=("una imagen con ", "hay ", ""),
    )


def _japanese(groups: list[Group], random: Random) -> str:
    numbers = {1: "一つ", 2: "二つ", 3: "三つ", 4: "四つ"}
    shapes = {
        "circle": "円", "square": "四角", "triangle": "三角", "star": "星", "diamond": "ひし形", "cross": "十字",
        "heart": "ハート",
    }  # fmt: skip
    colours = {
        "red": "赤い", "blue": "青い", "green": "緑の", "yellow": "黄色い", "orange": "オレンジ色の", "purple": "紫の",
        "black": "黒い", "grey": "灰色の",
    }  # fmt: skip
    places = {"left": "左に", "right": "右に", "top": "上に", "bottom": "下に", "middle": "真ん中に"}
    form = random.choice(
        ("{place}{colour}{shape}が{number}", "{colour}{shape}が{place}{number}", "{place}{number}の{colour}{shape}")
    )
    phrases = [
        form.format(
            place=places[group.place],
            colour=colours[group.colour],
            shape=shapes[group.shape],
            number=numbers[group.count],
        )
        for group in groups
    ]
    return "、".join(phrases) + random.choice(("", "あります" if form.endswith("{number}") else "があります"))


def _sentence(groups: list[tuple[str, str]], random: Random, *, plain: str, framed: tuple[str, ...]) -> str:
    """Name the groups and where they are, the place first or last."""
    if random.random() < 0.5:  # noqa: PLR2004
        return ", ".join(f"{place} {name}" for name, place in groups)
    return random.choice(framed) + plain.join(f"{name} {place}" for name, place in groups)


_CAPTIONS: dict[Language, Callable[[list[Group], Random], str]] = {
    "en": _english,
    "de": _german,
    "ja": _japanese,
    "es": _spanish,
}
