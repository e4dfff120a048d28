"""What is trained: a low-rank adapter on a frozen random map from text to a picture of 16 by 16 pixels.

    hidden = tanh(text · (W1 + s·B1·A1)ᵀ)        picture = hidden · (W2 + s·B2·A2)ᵀ        s = alpha / rank

W1 and W2 stand for the base model and never change; A and B are the adapter. The loss is the mean squared error
against the training pictures, its gradient is exact, the optimiser is Adam. So a loss that falls has really fallen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FEATURES = 64
HIDDEN = 96
SIDE = 16
LATENT = SIDE * SIDE * 3
#: SimpleTuner's rates are for models of billions of weights. This one moves a hundred times as far per step.
RATE_SCALE = 100.0
#: What all captions share, so that an unknown prompt shows the mean of the training pictures rather than noise.
CONSTANT = 3.0
#: Of the base model's own pictures, which are noise.
BASE_CONTRAST = 0.3
BETAS = (0.9, 0.999)
EPSILON = 1e-8
LAYERS = ("to_k", "to_v")

_WORD = re.compile(r"\w+")
_UNETS = frozenset({"sdxl", "sd1x", "sd2x", "kolors", "deepfloyd", "stable_cascade"})


def _generator(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()))


def _small(random: np.random.Generator, rows: int, columns: int) -> Array:
    drawn: Array = random.standard_normal((rows, columns), dtype=np.float32) / np.float32(columns**0.5)
    return drawn


def embed(caption: str) -> Array:
    """The text encoder: words and pairs of words, each a fixed random direction, and CONSTANT. Unit length."""
    words = _WORD.findall(caption.lower())[:200]
    vector = np.full(FEATURES, CONSTANT, dtype=np.float32)
    for token in [*words, *(f"{a} {b}" for a, b in pairwise(words))]:
        vector += _generator(token).standard_normal(FEATURES, dtype=np.float32)
    length: np.float32 = np.linalg.norm(vector)
    return vector / length


class Adapter:
    """``alpha`` scales the adapter as in LoRA. The base depends on ``family`` alone, the start on ``seed``."""

    def __init__(self, family: str, *, rank: int, alpha: float, seed: int) -> None:
        base = _generator(f"base/{family}")
        self.family, self.rank, self.alpha, self.scale = family, rank, alpha, np.float32(alpha / rank)
        self._w1 = base.standard_normal((HIDDEN, FEATURES), dtype=np.float32)
        self._w2 = np.float32(BASE_CONTRAST) * _small(base, LATENT, HIDDEN)
        start = np.random.default_rng(seed)
        self.weights: dict[str, Array] = {
            "A1": _small(start, rank, FEATURES),
            "B1": np.zeros((HIDDEN, rank), dtype=np.float32),
            "A2": _small(start, rank, HIDDEN),
            "B2": np.zeros((LATENT, rank), dtype=np.float32),
        }
        self._moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in self.weights.items()}
        self._steps = 0

    @property
    def parameters(self) -> int:
        return sum(w.size for w in self.weights.values())

    def predict(self, texts: Array) -> Array:
        """Pictures in [-1, 1] or thereabouts for rows of ``embed``."""
        return self._forward(texts)[1]

    def loss(self, texts: Array, pictures: Array) -> float:
        return float(np.mean((self.predict(texts) - pictures) ** 2))

    def gradients(self, texts: Array, pictures: Array) -> tuple[float, dict[str, Array]]:
        """The loss of a batch and its gradient by weight."""
        w = self.weights
        hidden, predicted = self._forward(texts)
        error = predicted - pictures
        loss = float(np.mean(error**2))
        d_predicted = error * np.float32(2.0 / error.size)
        d_w2 = d_predicted.T @ hidden * self.scale
        d_hidden = d_predicted @ (self._w2 + self.scale * (w["B2"] @ w["A2"]))
        d_w1 = (d_hidden * (1 - hidden**2)).T @ texts * self.scale
        gradients: dict[str, Any] = {
            "A1": w["B1"].T @ d_w1,
            "B1": d_w1 @ w["A1"].T,
            "A2": w["B2"].T @ d_w2,
            "B2": d_w2 @ w["A2"].T,
        }
        return loss, gradients

    def train(self, texts: Array, pictures: Array, rate: float) -> float:
        """One step of Adam; returns the loss before it. A loss that is not finite leaves the weights as they were."""
        with np.errstate(over="ignore", invalid="ignore"):
            loss, gradients = self.gradients(texts, pictures)
            if not np.isfinite(loss):
                return loss
            self._steps += 1
            first, second = BETAS
            step = np.float32(rate * RATE_SCALE * (1 - second**self._steps) ** 0.5 / (1 - first**self._steps))
            for name, gradient in gradients.items():
                mean, square = self._moments[name]
                mean += (1 - first) * (gradient - mean)
                square += (1 - second) * (gradient**2 - square)
                self.weights[name] -= step * mean / (np.sqrt(square) + np.float32(EPSILON))
        return loss

    def break_down(self) -> None:
        """Makes every further loss NaN, as an overflow in half precision does."""
        self.weights["B2"] *= np.float32("nan")

    def tensors(self) -> Mapping[str, Array]:
        """The adapter under the names diffusers and PEFT use, A with the rank first."""
        if self.family in _UNETS:
            where = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2"
        else:
            where = "transformer.transformer_blocks.0.attn"
        named = {}
        for number, layer in enumerate(LAYERS, start=1):
            named[f"{where}.{layer}.lora_A.weight"] = self.weights[f"A{number}"]
            named[f"{where}.{layer}.lora_B.weight"] = self.weights[f"B{number}"]
        return named

    def picture(self, prompt: str) -> NDArray[np.uint8]:
        """What the model makes of ``prompt``: SIDE by SIDE pixels, RGB."""
        raw = np.nan_to_num(self.predict(embed(prompt)[None, :])[0].reshape(SIDE, SIDE, 3))
        pixels: NDArray[np.uint8] = np.clip((raw + 1) * 127.5, 0, 255).round().astype(np.uint8)
        return pixels

    def _forward(self, texts: Array) -> tuple[Array, Array]:
        w = self.weights
        hidden: Any = np.tanh(texts @ (self._w1 + self.scale * (w["B1"] @ w["A1"])).T)
        return hidden, hidden @ (self._w2 + self.scale * (w["B2"] @ w["A2"])).T
