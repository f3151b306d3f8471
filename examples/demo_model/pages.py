"""Pages: a heading and a few short rows in several sizes and layouts, and what people ask of them in four languages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from lexicon import ADJECTIVES, NOUNS, PLACES, Thing
from PIL import Image, ImageDraw, ImageFont
from splits import Split, split_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from scenes import Language

Topic = Literal["price", "stock", "delivery", "storage", "wanted", "sale", "lost"]

# Multiples of a cell's 28 pixels, so that the processor has nothing to resize.
SIZES = ((252, 336), (280, 336), (308, 308), (280, 364))
_TITLES = {
    ("price",): ("Price list", "Prices"),
    ("stock",): ("Stock list", "Stock"),
    ("delivery",): ("Deliveries", "Arrivals"),
    ("storage",): ("Storage plan", "Storage"),
    ("wanted", "sale", "lost"): ("Notice board", "Notices"),
}
_MONTHS = ("January", "March", "April", "June", "August", "October", "December")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_FEWEST_ROWS, _MOST_ROWS = 6, 12
# What stands on pages beside things, places and numbers.
FIXED_WORDS = {
    *(word for titles in _TITLES.values() for title in titles for word in title.split()),
    *_MONTHS,
    *_DAYS,
    *("shelf", "Wanted:", "For", "sale:", "Lost:"),
}
_MARGIN = 12
_LAYOUTS = ("list", "dots", "table", "grid", "stacked")


@dataclass(frozen=True)
class Row:
    """One row of a page: what it is about, and the text that says so."""

    topic: Topic
    thing: Thing
    text: str
    value: str

    @property
    def line(self) -> str:
        """The whole row."""
        return f"{self.text} {self.value}".strip()


@dataclass(frozen=True)
class Page:
    """What stands on a page."""

    title: str
    place: str
    date: str
    rows: tuple[Row, ...]

    @property
    def lines(self) -> list[str]:
        """The page as text, line by line."""
        return [self.title, f"{self.place}, {self.date}", *(row.line for row in self.rows)]


Fact: TypeAlias = "tuple[Topic, Thing, str | None]"
"""What a query asks for: a row's topic and thing, and the page's place where the query names one."""


def draw_page(random: Random, split: Split) -> Page:
    """Make up a page, every line of which belongs to a part of the data."""

    def line_of(make: Callable[[], str]) -> str:
        while split_of(line := make()) != split:
            pass
        return line

    topics = random.choice(list(_TITLES))
    title = line_of(lambda: f"{random.choice(_TITLES[topics])} {random.randrange(1, 400)}")
    place, date = line_of(lambda: f"{random.choice(PLACES)}, {random.randrange(1, 29)} {random.choice(_MONTHS)}").split(
        ", "
    )
    rows: dict[Thing, Row] = {}
    n_rows = random.randint(_FEWEST_ROWS, _MOST_ROWS)
    while len(rows) < n_rows:
        row = _draw_row(random, random.choice(topics))
        if split_of(row.line) == split:
            rows[row.thing] = row
    return Page(title, place, date, tuple(rows.values()))


def facts(page: Page) -> set[Fact]:
    """Return all that can be asked of a page."""
    return {(row.topic, row.thing, place) for row in page.rows for place in (None, page.place)}


def ask(fact: Fact, language: Language, random: Random) -> str:
    """Ask for a fact in a language, in one of several ways."""
    topic, thing, place = fact
    question = random.choice(_QUESTIONS[language][topic])
    at = "" if place is None else _AT[language].format(place)
    return question.format(
        thing=thing.name(language),
        the="las" if thing.noun.feminine else "los",
        many="Cuántas" if thing.noun.feminine else "Cuántos",
        at=at,
    )


def _draw_row(random: Random, topic: Topic) -> Row:
    thing = Thing(random.choice(ADJECTIVES), random.choice(NOUNS))
    name = thing.name("en")
    number = random.randrange(1, 100)
    text, value = {
        "price": (name, f"{number}.{random.randrange(0, 100, 5):02}"),
        "stock": (name, f"{number}"),
        "delivery": (name, random.choice(_DAYS)),
        "storage": (name, f"shelf {number}"),
        "wanted": (f"Wanted: {name}", ""),
        "sale": (f"For sale: {name}", ""),
        "lost": (f"Lost: {name}", ""),
    }[topic]
    return Row(topic, thing, text, value)


@dataclass(frozen=True)
class Printed:
    """A word on a rendered page, and its box in pixels: left, top, right, bottom."""

    word: str
    box: tuple[float, float, float, float]


def render(page: Page, random: Random, size: tuple[int, int] | None = None) -> tuple[Image.Image, list[Printed]]:
    """Print a page. Type sizes, distances and the layout vary.

    Args:
        page: What to print.
        random: Decides what the page leaves open.
        size: Width and height in pixels; one of `SIZES` by default.

    Returns:
        The picture in shades of grey, and where each word is.
    """
    width, height = size or random.choice(SIZES)
    printer = _Printer(width, height, paper=random.randrange(236, 256), ink=random.randrange(0, 60))
    # Two lines a row: too many rows would be too small to read.
    layout = random.choice(_LAYOUTS if len(page.rows) <= 7 else _LAYOUTS[:-1])  # noqa: PLR2004
    top = _print_heading(page, printer, random)
    pitch = (height - top - _MARGIN / 2) / len(page.rows)
    body = min(random.randint(13, 16), int(pitch * (0.4 if layout == "stacked" else 0.66)))
    # The longest row must fit.
    while body > 10 and max(printer.width(row.line, body) for row in page.rows) > width - 2 * _MARGIN - 16:  # noqa: PLR2004
        body -= 1
    pitch = min(pitch, body * (2.9 if layout == "stacked" else 2.1))
    for index, row in enumerate(page.rows):
        _print_row(row, printer, layout, top=top + index * pitch, pitch=pitch, size=body)
    return printer.picture, printer.printed


class _Printer:
    """Puts words on paper and remembers where."""

    def __init__(self, width: int, height: int, *, paper: int, ink: int) -> None:
        self.picture = Image.new("L", (width, height), paper)
        self.draw = ImageDraw.Draw(self.picture)
        self.printed: list[Printed] = []
        self.right = width - _MARGIN
        self.paper = paper
        self.ink = ink

    def width(self, text: str, size: int) -> int:
        words = text.split()
        return sum(_mask(word, size).width for word in words) + (len(words) - 1) * (size // 4)

    def text(self, left: float, top: float, text: str, size: int, *, inverse: bool = False) -> None:
        for word in text.split():
            mask = _mask(word, size)
            self.picture.paste(self.paper if inverse else self.ink, (round(left), round(top)), mask)
            self.printed.append(Printed(word, (left, top, left + mask.width, top + mask.height)))
            left += mask.width + size // 4

    def line(self, top: float, *, left: float = _MARGIN) -> None:
        self.draw.line((left, top, self.right, top), fill=(self.paper + self.ink) // 2)


def _print_heading(page: Page, printer: _Printer, random: Random) -> float:
    """Print title, place and date, and return where the rows begin."""
    large, small = random.randint(18, 23), random.randint(12, 14)
    below = f"{page.place}, {page.date}"
    centred = random.random() < 0.4  # noqa: PLR2004
    inverse = random.random() < 0.25  # noqa: PLR2004

    def left(text: str, size: int) -> float:
        return (printer.right + _MARGIN - printer.width(text, size)) / 2 if centred else _MARGIN

    top = random.randint(6, 12)
    if inverse:
        printer.draw.rectangle((0, 0, printer.right + _MARGIN, top + 1.3 * large), fill=printer.ink)
    printer.text(left(page.title, large), top, page.title, large, inverse=inverse)
    top += 1.5 * large
    printer.text(left(below, small), top, below, small)
    top += 1.6 * small
    if random.random() < 0.5:  # noqa: PLR2004
        printer.line(top)
    return top + 6


def _print_row(row: Row, printer: _Printer, layout: str, *, top: float, pitch: float, size: int) -> None:
    at_right = printer.right - printer.width(row.value, size)
    left = _MARGIN
    match layout:
        case "list":
            printer.draw.ellipse((left, top + size / 2, left + 4, top + size / 2 + 4), fill=printer.ink)
            printer.text(left + 10, top, row.line, size)
            return
        case "stacked":
            printer.text(left, top, row.text, size)
            printer.text(left + 16, top + 1.25 * size, row.value, size)
            return
        case "grid":
            above = top - (pitch - 1.2 * size) / 2
            printer.draw.rectangle((left - 6, above, printer.right + 6, above + pitch), outline=printer.ink)
        case "table":
            printer.line(top + size + pitch / 4)
        case "dots" if row.value:
            dots = range(int(left + printer.width(row.text, size) + 6), int(at_right - 6), 6)
            for x in dots:
                printer.draw.point((x, top + size), fill=printer.ink)
    printer.text(left, top, row.text, size)
    printer.text(at_right, top, row.value, size)


@cache
def _mask(word: str, size: int) -> Image.Image:
    """Return a word's ink. Kept, because printing the same words again and again is what rendering costs."""
    font = ImageFont.load_default(size)
    mask = Image.new("L", (math.ceil(font.getlength(word)), math.ceil(1.3 * size)))
    ImageDraw.Draw(mask).text((0, 0), word, fill=255, font=font)
    return mask


_AT: dict[Language, str] = {"en": " at {}", "de": " bei {}", "es": " en {}", "ja": "{}の"}
_QUESTIONS: dict[Language, dict[Topic, tuple[str, ...]]] = {
    "en": {
        "price": ("What do {thing} cost{at}?", "price of {thing}{at}", "How much are {thing}{at}?"),
        "stock": ("How many {thing} are in stock{at}?", "stock of {thing}{at}"),
        "delivery": ("When do {thing} arrive{at}?", "delivery of {thing}{at}"),
        "storage": ("Where are {thing} stored{at}?", "shelf of {thing}{at}"),
        "wanted": ("Who is looking for {thing}{at}?", "{thing} wanted{at}"),
        "sale": ("Who sells {thing}{at}?", "{thing} for sale{at}"),
        "lost": ("Who lost {thing}{at}?", "lost {thing}{at}"),
    },
    "de": {
        "price": ("Was kosten {thing}{at}?", "Preis für {thing}{at}"),
        "stock": ("Wie viele {thing} sind{at} auf Lager?", "Bestand{at}: {thing}"),
        "delivery": ("Wann kommen {thing}{at} an?", "Lieferung{at}: {thing}"),
        "storage": ("Wo lagern {thing}{at}?", "Regal für {thing}{at}"),
        "wanted": ("Wer sucht {thing}{at}?", "{thing} gesucht{at}"),
        "sale": ("Wer verkauft {thing}{at}?", "{thing} zu verkaufen{at}"),
        "lost": ("Wer hat {thing}{at} verloren?", "{thing} verloren{at}"),
    },
    "es": {
        "price": ("¿Cuánto cuestan {the} {thing}{at}?", "precio de {the} {thing}{at}"),
        "stock": ("¿{many} {thing} hay{at}?", "existencias de {thing}{at}"),
        "delivery": ("¿Cuándo llegan {the} {thing}{at}?", "entrega de {thing}{at}"),
        "storage": ("¿Dónde se guardan {the} {thing}{at}?", "estante de {the} {thing}{at}"),
        "wanted": ("¿Quién busca {thing}{at}?", "se buscan {thing}{at}"),
        "sale": ("¿Quién vende {thing}{at}?", "se venden {thing}{at}"),
        "lost": ("¿Quién perdió {thing}{at}?", "se perdieron {thing}{at}"),
    },
    "ja": {
        "price": ("{at}{thing}の値段は?", "{at}{thing}はいくらですか。"),
        "stock": ("{at}{thing}の在庫は?", "{at}{thing}は何個ありますか。"),
        "delivery": ("{at}{thing}はいつ届きますか。", "{at}{thing}の配達日"),
        "storage": ("{at}{thing}はどこに保管されていますか。", "{at}{thing}の棚"),
        "wanted": ("{at}{thing}を探しているのは誰ですか。", "{at}{thing}を求む"),
        "sale": ("{at}{thing}を売っているのは誰ですか。", "{at}{thing}を売ります"),
        "lost": ("{at}{thing}をなくしたのは誰ですか。", "{at}{thing}の落とし物"),
    },
}
