"""Repositories, their commits, and large files, below one folder. Survives restarts; nothing is ever overwritten but
the small record of a repository, and that as a whole."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAIN = "main"


@dataclass(frozen=True)
class File:
    """One file of a commit: ``oid`` is git's of the blob (of the pointer, for a large file); ``sha256`` only large
    files have."""

    oid: str
    size: int
    sha256: str | None = None

    @property
    def remote_oid(self) -> str:
        """What the Hub calls the oid when it is asked what is there."""
        return self.sha256 or self.oid

    def to_json(self) -> dict[str, Any]:
        return {"oid": self.oid, "size": self.size, "sha256": self.sha256}


@dataclass
class Repo:
    """``commits`` by id: parent, title, and all files at that point by path. ``branches`` name the newest ones."""

    name: str
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, Any]] = field(default_factory=dict)

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch or a commit's own id means."""
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    def files(self, commit: str) -> dict[str, File]:
        return {path: File(**facts) for path, facts in self.commits[commit]["files"].items()}

    def add(self, branch: str, title: str, files: Mapping[str, File]) -> str:
        parent = self.branches.get(branch)
        facts = {"parent": parent, "title": title, "files": {p: f.to_json() for p, f in sorted(files.items())}}
        commit = hashlib.sha1(  # noqa: S324 - a commit's id, as git's
            json.dumps([facts, len(self.commits)], sort_keys=True).encode()
        ).hexdigest()
        self.commits[commit] = facts
        self.branches[branch] = commit
        return commit


class HubStorage:
    """All that is kept. Not for several processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("repos", "blobs", "lfs", "uploads"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._repos: dict[str, Repo] = {}
        for record in sorted((folder / "repos").glob("*.json")):
            repo = Repo(**json.loads(record.read_text(encoding="utf-8")))
            self._repos[repo.name] = repo

    def repos(self) -> list[Repo]:
        return sorted(self._repos.values(), key=lambda repo: repo.name)

    def repo(self, name: str) -> Repo | None:
        return self._repos.get(name)

    def create(self, name: str, *, private: bool) -> Repo:
        repo = Repo(name, private)
        self._repos[name] = repo
        attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        repo.add(MAIN, "initial commit", {".gitattributes": self.put_blob(attributes)})
        self.save(repo)
        return repo

    def save(self, repo: Repo) -> None:
        path = self._folder / "repos" / f"{repo.name.replace('/', '__')}.json"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(repo.__dict__), encoding="utf-8")
        unfinished.replace(path)

    def put_blob(self, data: bytes) -> File:
        oid = git_oid(data)
        path = self._folder / "blobs" / oid
        if not path.exists():
            path.write_bytes(data)
        return File(oid, len(data))

    def large(self, sha256: str) -> Path | None:
        path = self._folder / "lfs" / sha256
        return path if path.is_file() else None

    def path_of(self, file: File) -> Path:
        return self._folder / ("lfs" if file.sha256 else "blobs") / (file.sha256 or file.oid)

    def pointer(self, sha256: str, size: int) -> File:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return File(git_oid(text.encode()), size, sha256)

    def begin_upload(self) -> str:
        upload = secrets.token_hex(12)
        (self._folder / "uploads" / upload).mkdir()
        return upload

    def part(self, upload: str, number: int) -> Path | None:
        """Where that part goes; None when there is no such upload."""
        folder = self._folder / "uploads" / upload
        return folder / f"{number:05d}" if re.fullmatch(r"[0-9a-f]{24}", upload) and folder.is_dir() else None

    def finish_upload(self, upload: str, sha256: str, size: int) -> str | None:
        """Puts the parts together when they are what was promised; else says why not. Removes the upload."""
        folder = self._folder / "uploads" / upload
        parts = sorted(p for p in folder.iterdir() if p.suffix != ".unfinished") if folder.is_dir() else []
        whole = folder / "whole.unfinished"
        digest, length = hashlib.sha256(), 0
        if not parts:
            return "no such upload"
        with whole.open("wb") as out:
            for part in parts:
                with part.open("rb") as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        length += len(block)
                        out.write(block)
        try:
            if length != size or digest.hexdigest() != sha256:
                return f"the content has {length} bytes and SHA-256 {digest.hexdigest()}"
            whole.replace(self._folder / "lfs" / sha256)
            return None
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        for name in ("repos", "blobs", "lfs", "uploads"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / name).mkdir(parents=True)
        self._repos.clear()


def git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - git's own
