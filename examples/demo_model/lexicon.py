"""The words that stand on pages, and what they are called in the languages that ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scenes import Language

PLACES = tuple(
    f"{name} {kind}"
    for name, kinds in {
        "Harbour": ("Market", "Cafe", "Depot"),
        "Station": ("Kiosk", "Cafe", "Garage"),
        "Castle": ("School", "Market", "Museum"),
        "River": ("Farm", "Bakery", "Depot"),
        "Garden": ("Centre", "School", "Hotel"),
        "Mill": ("Bakery", "Farm", "Kiosk"),
        "Bridge": ("Hotel", "Garage", "Museum"),
        "Forest": ("Centre", "Clinic", "Farm"),
    }.items()
    for kind in kinds
)


@dataclass(frozen=True)
class Noun:
    """A noun in the plural. ``feminine`` is about the Spanish one."""

    en: str
    de: str
    es: str
    ja: str
    feminine: bool


@dataclass(frozen=True)
class Adjective:
    """An adjective as it stands at a noun in the plural without an article."""

    en: str
    de: str
    es: str
    ja: str


@dataclass(frozen=True)
class Thing:
    """What a row of a page is about."""

    adjective: Adjective
    noun: Noun

    def name(self, language: Language) -> str:
        """Return ``"red lamps"`` in a language."""
        match language:
            case "en":
                return f"{self.adjective.en} {self.noun.en}"
            case "de":
                return f"{self.adjective.de} {self.noun.de}"
            case "es":
                adjective = self.adjective.es
                if self.noun.feminine and adjective.endswith("os"):
                    adjective = adjective[:-2] + "as"
                return f"{self.noun.es} {adjective}"
            case "ja":
                return f"{self.adjective.ja}{self.noun.ja}"


ADJECTIVES = tuple(
    Adjective(*words.split())
    for words in (
        "new neue nuevos 新しい",
        "old alte viejos 古い",
        "small kleine pequeños 小さい",
        "large große grandes 大きい",
        "red rote rojos 赤い",
        "blue blaue azules 青い",
        "green grüne verdes 緑の",
        "yellow gelbe amarillos 黄色い",
        "white weiße blancos 白い",
        "black schwarze negros 黒い",
        "cheap billige baratos 安い",
        "heavy schwere pesados 重い",
        "light leichte ligeros 軽い",
        "long lange largos 長い",
        "short kurze cortos 短い",
        "round runde redondos 丸い",
        "soft weiche blandos 柔らかい",
        "hard harte duros 硬い",
        "clean saubere limpios きれいな",
        "broken kaputte rotos 壊れた",
        "wide breite anchos 広い",
        "thin dünne finos 薄い",
        "strong starke fuertes 強い",
        "rare seltene raros 珍しい",
    )
)

NOUNS = tuple(
    Noun(*words.split(), feminine=feminine)
    for feminine, lines in (
        (
            False,
            """
            books Bücher libros 本
            hats Hüte sombreros 帽子
            shoes Schuhe zapatos 靴
            tomatoes Tomaten tomates トマト
            lemons Zitronen limones レモン
            clocks Uhren relojes 時計
            pencils Bleistifte lápices 鉛筆
            knives Messer cuchillos ナイフ
            plates Teller platos 皿
            glasses Gläser vasos グラス
            mirrors Spiegel espejos 鏡
            boats Boote barcos 船
            trains Züge trenes 電車
            cars Autos coches 車
            horses Pferde caballos 馬
            dogs Hunde perros 犬
            cats Katzen gatos 猫
            birds Vögel pájaros 鳥
            trees Bäume árboles 木
            stones Steine ladrillos 石
            carpets Teppiche tapices 絨毯
            drums Trommeln tambores 太鼓
            pianos Klaviere pianos ピアノ
            screws Schrauben tornillos ねじ
            hammers Hämmer martillos 金槌
            cheeses Käse quesos チーズ
            coats Mäntel abrigos コート
            gloves Handschuhe guantes 手袋
            stamps Briefmarken sellos 切手
            candles Kerzen cirios ろうそく
            baskets Körbe cestos かご
            ladders Leitern peldaños はしご
            fans Ventilatoren ventiladores 扇風機
            tickets Fahrkarten billetes 切符
            kettles Kessel hervidores やかん
            garlands Girlanden adornos 花輪
            """,
        ),
        (
            True,
            """
            apples Äpfel manzanas りんご
            pears Birnen peras 梨
            onions Zwiebeln cebollas 玉ねぎ
            chairs Stühle sillas 椅子
            tables Tische mesas 机
            lamps Lampen lámparas ランプ
            cups Tassen tazas カップ
            spoons Löffel cucharas スプーン
            bottles Flaschen botellas 瓶
            boxes Kisten cajas 箱
            bags Taschen bolsas 袋
            keys Schlüssel llaves 鍵
            doors Türen puertas ドア
            windows Fenster ventanas 窓
            shirts Hemden camisas シャツ
            bicycles Fahrräder bicicletas 自転車
            guitars Gitarren guitarras ギター
            flowers Blumen flores 花
            roses Rosen rosas 薔薇
            cakes Torten tartas ケーキ
            towels Handtücher toallas タオル
            blankets Decken mantas 毛布
            brushes Bürsten escobillas ブラシ
            ropes Seile cuerdas ロープ
            cameras Kameras cámaras カメラ
            radios Radiogeräte radios ラジオ
            maps Landkarten cartas 地図
            letters Buchstaben letras 文字
            wheels Räder ruedas 車輪
            shovels Schaufeln palas シャベル
            tents Zelte tiendas テント
            pots Töpfe ollas 鍋
            pumps Pumpen bombas ポンプ
            masks Masken máscaras 仮面
            socks Socken medias 靴下
            oranges Orangen naranjas オレンジ
            """,
        ),
    )
    for words in lines.strip().splitlines()
)
