"""Running the command line in this process against a server."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stcloud.main import app
from stcloud.session import Runtime
from stcloud.vault import NoKeyring
from typer.testing import CliRunner

PICTURES = {
    "one.jpg": b"\xff\xd8\xff\xe0 one picture",
    "one.txt": b"a red cup",
    "two.png": b"\x89PNG\r\n\x1a\n another",
    "two.txt": b"a cat",
    "more/drei \u00e4.webp": b"RIFF\x04\x00\x00\x00WEBP third",
    "more/drei \u00e4.txt": b"a bicycle",
}
CONFIG = {
    "--model_family": "flux",
    "--model_type": "lora",
    "--max_train_steps": 200,
    "--checkpoint_step_interval": 100,
    "--validation_step_interval": 100,
    "--validation_prompt": "a red cup",
    "--lora_rank": 4,
}


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class Cli:
    """``slept`` collects what the command would have waited; nothing really waits. ``environ`` adds to the environment;
    an empty value takes a variable out of it."""

    url: str
    home: Path
    slept: list[float]
    environ: dict[str, str] = field(default_factory=dict)

    def run(self, *args: str, interactive: bool = False, answer: str = "", **runtime: Any) -> Ran:
        environ = {"STCLOUD_URL": self.url, "XDG_CACHE_HOME": str(self.home / "cache"), **self.environ}
        runtime.setdefault("keyring", NoKeyring("this is a test"))
        world = Runtime(
            environ={name: value for name, value in environ.items() if value},
            sleep=self.slept.append,
            rng=random.Random(1),
            home=self.home,
            platform="linux",
            is_interactive=lambda: interactive,
            **runtime,
        )
        result = CliRunner().invoke(app, list(args), obj=world, input=answer, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout, result.stderr)


def picture_folder(root: Path, files: dict[str, bytes] | None = None) -> Path:
    """A folder ``photos`` with captioned pictures."""
    folder = root / "photos"
    for name, content in (files or PICTURES).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def config_files(root: Path, folder: Path, **changes: Any) -> Path:
    """``config.json`` with a ``multidatabackend.json`` beside it that names ``folder``; returns the config's path."""
    config = root / "config.json"
    config.write_text(json.dumps({**CONFIG, **changes}))
    entry = {"id": "pictures", "type": "local", "instance_data_dir": str(folder), "caption_strategy": "textfile"}
    (root / "multidatabackend.json").write_text(json.dumps([entry]))
    return config
