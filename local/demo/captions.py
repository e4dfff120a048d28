"""Which pieces of which photographs make the demo's dataset, and what is to be seen on each.

Written while looking at every piece. The SHA-256 of a source guards its captions: another picture under the same name
is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCES = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


@dataclass(frozen=True)
class Piece:
    """A box (left, top, right, bottom; pixels) of a source, and its caption."""

    name: str
    source: str
    box: tuple[int, int, int, int]
    caption: str


PIECES = (
    Piece(
        "astronaut-portrait",
        "astronaut.png",
        (0, 0, 512, 512),
        "portrait of a smiling astronaut in an orange space suit, a helmet with a black visor in front of her, "
        "an American flag and a model of a space shuttle behind her",
    ),
    Piece(
        "astronaut-face",
        "astronaut.png",
        (104, 0, 360, 256),
        "a smiling woman with short blond hair wearing an orange space suit with a wide dark neck ring",
    ),
    Piece(
        "astronaut-suit",
        "astronaut.png",
        (90, 256, 346, 512),
        "the chest of an orange space suit with a round purple patch, a name tag and a white strap",
    ),
    Piece(
        "astronaut-helmet",
        "astronaut.png",
        (270, 330, 512, 512),
        "an astronaut's helmet with a shiny black visor and a white shell",
    ),
    Piece(
        "shuttle-model",
        "astronaut.png",
        (346, 0, 496, 290),
        "a model of a white space shuttle with a brown fuel tank and two white boosters",
    ),
    Piece("cat", "chelsea.png", (0, 0, 451, 300), "close-up of a tabby cat with green eyes"),
    Piece(
        "cat-face",
        "chelsea.png",
        (110, 20, 380, 290),
        "the face of a tabby cat with green eyes, a reddish nose and white whiskers",
    ),
    Piece(
        "cat-nose", "chelsea.png", (190, 150, 350, 300), "the nose and mouth of a tabby cat, with fine white whiskers"
    ),
    Piece(
        "espresso",
        "coffee.png",
        (0, 0, 600, 400),
        "a cup of espresso on a red saucer with a small spoon, on a wooden table",
    ),
    Piece(
        "espresso-crema", "coffee.png", (160, 10, 420, 210), "brown crema of an espresso in a cup that is white inside"
    ),
    Piece(
        "espresso-spoon",
        "coffee.png",
        (190, 190, 430, 390),
        "a shiny small spoon beside the handle of a red cup, on a red saucer",
    ),
    Piece("table-wood", "coffee.png", (450, 0, 600, 130), "the reddish brown grain of a wooden table"),
    Piece(
        "rocket",
        "rocket.jpg",
        (0, 0, 640, 427),
        "a white rocket on its launch pad at dusk between lattice towers, bright lights on the ground",
    ),
    Piece(
        "rocket-upright",
        "rocket.jpg",
        (220, 110, 420, 427),
        "a white rocket standing upright against a dark blue evening sky",
    ),
    Piece(
        "launch-pad-lights",
        "rocket.jpg",
        (60, 300, 260, 427),
        "lights with long star-shaped rays under a dark blue sky at a launch pad",
    ),
    Piece("lattice-tower", "rocket.jpg", (0, 0, 180, 240), "a steel lattice tower against a dark blue sky"),
    Piece(
        "cameraman",
        "camera.png",
        (0, 0, 512, 512),
        "black and white photograph of a man in a dark coat looking through a camera on a tripod, on a lawn",
    ),
    Piece(
        "cameraman-head",
        "camera.png",
        (140, 40, 360, 260),
        "black and white photograph of a man with dark hair looking through a camera",
    ),
    Piece(
        "campus",
        "camera.png",
        (345, 100, 512, 267),
        "black and white photograph of a tall building and low domes behind a lawn",
    ),
    Piece(
        "tripod",
        "camera.png",
        (225, 300, 425, 512),
        "black and white photograph of the legs of a tripod on a lawn",
    ),
    Piece(
        "deep-field",
        "hubble_deep_field.jpg",
        (0, 0, 1000, 872),
        "deep space photograph of a great many small coloured galaxies on black",
    ),
    Piece(
        "orange-galaxy",
        "hubble_deep_field.jpg",
        (600, 350, 856, 606),
        "deep space photograph of a bright orange galaxy and a star with rays among many small galaxies on black",
    ),
    Piece(
        "coins",
        "coins.png",
        (0, 0, 384, 303),
        "black and white photograph of 24 ancient coins in four rows on a dark background",
    ),
    Piece(
        "coin-rows",
        "coins.png",
        (0, 0, 245, 160),
        "black and white photograph of eight ancient coins in two rows on a dark background",
    ),
    Piece(
        "retina",
        "retina.jpg",
        (0, 0, 1411, 1411),
        "photograph of a retina: an orange disc on black with fine branching red vessels and one bright spot",
    ),
    Piece("brick-pavement", "brick.png", (0, 0, 512, 512), "black and white photograph of rows of long narrow bricks"),
    Piece("gravel", "gravel.png", (0, 0, 512, 512), "black and white photograph of coarse gravel seen from above"),
    Piece(
        "grass",
        "grass.png",
        (0, 0, 512, 512),
        "black and white photograph of grass with a few leaves, seen from above",
    ),
)
