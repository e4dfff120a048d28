"""The ImageProbe port without an imaging library: its pictures are a PNG signature and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from chalicelib.domain.inspection_facts import ImageFacts, Problem, pixels_problem

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def fake_picture(width: int = 512, height: int = 512, *, seed: int = 1, problems: Sequence[Problem] = ()) -> bytes:
    """A picture that the fake probe reads. The same ``seed`` looks the same."""
    facts = {"width": width, "height": height, "seed": seed, "problems": [p.value for p in problems]}
    return SIGNATURE + json.dumps(facts).encode()


class FakeProbe:
    """Counts its looks."""

    def __init__(self) -> None:
        self.looks = 0

    def look(self, data: bytes, *, thumbnail: bool) -> ImageFacts:
        self.looks += 1
        try:
            facts = json.loads(data.removeprefix(SIGNATURE))
        except ValueError:
            return ImageFacts(problems=(Problem.UNREADABLE,))
        width, height = facts["width"], facts["height"]
        too_many = pixels_problem("png", width, height)
        if too_many is not None:
            return ImageFacts(format="png", width=width, height=height, problems=(too_many,))
        # Far apart for different seeds, and never plain.
        rows = (facts["seed"] * 0x9E3779B97F4A7C15 ^ 0x5555555555555555) % 2**64
        columns = (facts["seed"] * 0xC2B2AE3D27D4EB4F ^ 0x3333333333333333) % 2**64
        problems = tuple(Problem(p) for p in facts["problems"])
        return ImageFacts("png", width, height, problems, rows, columns, b"thumb" if thumbnail else None)

    def sheet(self, thumbnails: Sequence[bytes]) -> bytes:
        return b"sheet of " + str(len(thumbnails)).encode()
