"""The terminal section of the README, run as it is printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.functional.cli_server import cli_server
from tests.functional.cli_tools import CONFIG, Cli, picture_folder

README = Path(__file__).parents[2] / "README.md"


def test_the_terminal_section_works_as_printed(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").split("### From a terminal\n")[1].split("\n### ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (commands,) = [text for kind, text in blocks if not kind]
    (dataloader,) = [text for kind, text in blocks if kind == "json"]
    folder = picture_folder(tmp_path)
    entries = json.loads(dataloader)
    assert entries[0]["instance_data_dir"] == "/home/me/photos"
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "multidatabackend.json").write_text(dataloader)
    with cli_server() as server:
        cli = Cli(server.url, tmp_path / "home", [])
        job_id = "JOB_ID"
        lines = commands.strip().splitlines()
        assert len(lines) == 6
        for line in lines:
            words = shlex.split(line, comments=True)
            here = {"~/photos": str(folder), "config.json": str(tmp_path / "config.json"), "JOB_ID": job_id}
            assert words[0] == "stcloud"
            # Its reader sits at a terminal, where a push asks.
            ran = cli.run(*(here.get(word, word) for word in words[1:]), interactive=True, answer="y\n")
            assert ran.code == 0, (line, ran.err)
            assert "Warning" not in ran.err, (line, ran.err)
            if "submit" in words:
                job_id = ran.out.strip()
                assert "Dataset photos: photos v-" in ran.err
        assert Path(ran.out.strip()).read_bytes() == server.world.weights
