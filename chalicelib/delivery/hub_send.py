"""One step of a delivery to the Hub: make the repository, send large files, then one commit with everything.

Nothing of others is touched: a commit adds or replaces the files of the shipment and deletes none. What is there
already with the same content is not committed again, so a repeat after a lost answer finds its own work and adds
nothing; that is also how it is told, and not by any memory of ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn
from urllib.parse import quote

from chalicelib.delivery.hub_faults import MAX_FILE_BYTES, HubWords, malformed, no_name
from chalicelib.delivery.hub_plans import Notes
from chalicelib.delivery.hub_session import (
    CommitOperationAdd,
    HfHubHTTPError,
    RepoFile,
    UploadInfo,
    get_session,
    hf_raise_for_status,
    open_api,
    translated,
)
from chalicelib.delivery.hub_upload import LargeUpload
from chalicelib.domain.delivery_ports import Advance, Budget, DeliveryFault, Shipment, ShippedFile
from chalicelib.domain.destinations import HubDestination
from chalicelib.domain.hub import is_repo_name
from chalicelib.domain.model_card import is_untouched_card, model_card
from chalicelib.errors import Unavailable

CARD = "README.md"
#: What the Hub keeps in git itself goes up inside the commit, all of it in memory.
MAX_REGULAR_BYTES = 16 * 1024 * 1024
MAX_CARD_BYTES = 1024 * 1024
SAMPLE_BYTES = 512
#: Paths in one question to the Hub.
PATHS = 100
PREUPLOAD_PATHS = 256
#: Files whose links are asked for at once, and their bytes: links may end before their turn comes.
GROUP_FILES = 48
GROUP_BYTES = 1024**3
#: New tries of a commit when another one came first.
COMMITS = 5


@dataclass(frozen=True)
class Card:
    """``text`` is None when the repository has a README of somebody else's, which stays."""

    text: str | None

    @property
    def data(self) -> bytes:
        return (self.text or "").encode()


class HubRepository:
    """One repository as a delivery sees it. Every call raises DeliveryFault."""

    def __init__(
        self, shipment: Shipment, destination: HubDestination, token: str, words: HubWords, *, read_seconds: float
    ) -> None:
        self.shipment = shipment
        self._destination = destination
        self._token = token
        self.words = words
        self.revision = destination.revision
        self._api = open_api(words.endpoint, token, read_seconds=read_seconds)

    def open(self) -> str:
        """Makes the repository and its branch when they are not there; returns the full name."""
        with translated(self.words):
            name = self._destination.repo_id
            if "/" not in name:
                name = f"{self._api.whoami()['name']}/{name}"
                self.words = HubWords(self.words.endpoint, name, self.words.credential)
            if not is_repo_name(name):
                raise no_name(name)
            self._api.create_repo(name, private=self._destination.private, exist_ok=True)
            if self.revision != "main" and not self.revision.startswith("refs/"):
                self._api.create_branch(name, branch=self.revision, exist_ok=True)
        return name

    def regular(self) -> list[int]:
        """Which files the Hub keeps in git itself, as indices; it decides by name, size and first bytes."""
        files = self.shipment.files
        large = next((f for f in files if f.size > MAX_FILE_BYTES), None)
        if large is not None:
            raise self.words.too_large(f"{large.path} has {large.size:,} bytes")
        modes: dict[str, str] = {}
        for at in range(0, len(files), PREUPLOAD_PATHS):
            asked = [
                {"path": f.path, "sample": base64.b64encode(self.read(f, SAMPLE_BYTES)).decode(), "size": f.size}
                for f in files[at : at + PREUPLOAD_PATHS]
            ]
            # The library asks this only within a commit, when all large files are to be sent at once.
            answer = self._post(f"preupload/{quote(self.revision, safe='')}", {"files": asked})
            modes |= {str(f.get("path")): str(f.get("uploadMode")) for f in answer.get("files", [])}
        if set(modes) != {f.path for f in files}:
            raise malformed("how files are kept")
        # Storage refuses what is empty.
        regular = [i for i, f in enumerate(files) if modes[f.path] == "regular" or not f.size]
        total = sum(files[i].size for i in regular)
        if total > MAX_REGULAR_BYTES:
            raise DeliveryFault(
                "too_large",
                f"The Hub keeps {len(regular)} of the files in git; {total:,} bytes are too many for a commit.",
                "Leave the others out (--include weights,samples), or deliver to a bucket (--to s3://…).",
                retry=False,
            )
        return regular

    def head(self) -> str | None:
        """The newest commit; None for a repository without any."""
        with translated(self.words):
            return self._api.model_info(self.words.repo_id, revision=self.revision).sha

    def there(self, commit: str | None, paths: Sequence[str]) -> dict[str, RepoFile]:
        """Those of ``paths`` that are files at ``commit``."""
        found: dict[str, RepoFile] = {}
        if commit is None:
            return found
        for at in range(0, len(paths), PATHS):
            with translated(self.words):
                infos = self._api.get_paths_info(self.words.repo_id, list(paths[at : at + PATHS]), revision=commit)
            found |= {info.path: info for info in infos if isinstance(info, RepoFile)}
        return found

    def card(self, commit: str | None, found: RepoFile | None) -> Card:
        """The model card to write; a README that people wrote or edited stays."""
        text = model_card(self.shipment, self.words.repo_id, license_id=self._destination.license)
        if found is None or commit is None or found.blob_id == git_oid(text.encode()):
            return Card(text)
        if found.size > MAX_CARD_BYTES:
            return Card(None)
        present = self.content(commit, CARD, 0, found.size).decode(errors="replace")
        return Card(text if is_untouched_card(present) else None)

    def content(self, commit: str, path: str, start: int, length: int) -> bytes:
        """Bytes of a file at ``commit``, as anybody would get them."""
        url = f"{self.words.endpoint}/{self.words.repo_id}/resolve/{commit}/{quote(path)}"
        headers = {"Authorization": f"Bearer {self._token}", "Range": f"bytes={start}-{start + length - 1}"}
        with translated(self.words):
            answer = get_session().get(url, headers=headers)
            hf_raise_for_status(answer)
        body: bytes = answer.content
        return body if answer.status_code == 206 else body[start : start + length]

    def commit(self, operations: Sequence[CommitOperationAdd], parent: str | None) -> str | None:
        """The new commit; None when another one came first."""
        title = f"Upload {self.shipment.run_name or 'a model'} from SimpleTuner Cloud"
        with translated(self.words):
            try:
                done = self._api.create_commit(
                    self.words.repo_id,
                    operations,
                    commit_message=" ".join(title.split())[:200],
                    commit_description=f"Job {self.shipment.job_id}",
                    revision=self.revision,
                    parent_commit=parent,
                    num_threads=1,
                )
            except HfHubHTTPError as error:
                if error.response.status_code == 412:
                    return None
                raise
        return done.oid

    def read(self, file: ShippedFile, length: int | None = None, start: int = 0) -> bytes:
        """From escrow; the whole of a small file is checked."""
        wanted = file.size if length is None else min(length, file.size - start)
        try:
            data = self.shipment.escrow.get(file.source_key, start=start, length=wanted)
        except Unavailable as error:
            raise DeliveryFault(
                "unavailable", "The escrow store is busy.", "Nothing to do: it is tried again.", retry=True
            ) from error
        whole = length is None
        if data is None or len(data) != wanted or (whole and hashlib.sha256(data).hexdigest() != file.sha256):
            raise DeliveryFault(
                "source_missing",
                f"The escrow copy of {file.path} is gone, or is not what was verified.",
                "Look at the job: stcloud jobs show JOB. Deliver what is left with --include.",
                retry=False,
            )
        return data

    def _post(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        url = f"{self.words.endpoint}/api/models/{self.words.repo_id}/{what}"
        with translated(self.words):
            answer = get_session().post(url, json=body, headers={"Authorization": f"Bearer {self._token}"})
            hf_raise_for_status(answer)
            found = answer.json()
        return found if isinstance(found, dict) else {}


class _Uploaded(BytesIO):
    """Stands for content that the Hub's storage has already. When it has lost it meanwhile the library would read:
    then all begins anew, in place of something empty being sent."""

    def read(self, size: int | None = -1, /) -> NoReturn:  # noqa: ARG002 - the signature of a file
        raise DeliveryFault(
            "unavailable",
            "The Hub lost a file between its upload and the commit.",
            "Nothing to do: it is sent again.",
            retry=True,
            restart=True,
        )


def send_step(
    repo: HubRepository,
    state: Mapping[str, Any] | None,
    budget: Budget,
    *,
    uploader: Callable[[Notes], LargeUpload],
) -> Advance:
    """As ``Target.send``. ``state``: the repository's full name, which files are regular, which large ones have
    arrived (both as indices), and at the end the commit."""
    shipment, files = repo.shipment, repo.shipment.files
    known = dict(state or {})
    if known.get("files") != fingerprint(files):
        name = repo.open()
        known = {"files": fingerprint(files), "repo": name, "regular": repo.regular(), "sent": []}
    regular, sent = set(known["regular"]), set(known["sent"])
    notes = Notes(shipment.escrow, shipment.state_prefix)
    large = [i for i in range(len(files)) if i not in regular]
    if not sent.issuperset(large):
        there = repo.there(repo.head(), [files[i].path for i in large if i not in sent])
        sent |= {i for i in large if (info := there.get(files[i].path)) and is_same(files[i], info)}
    upload = uploader(notes)
    partly = 0
    try:
        for group in _groups([i for i in large if i not in sent], files):
            there_now = upload.send([files[i] for i in group])
            arrived = {i for i in group if files[i].sha256 in there_now}
            sent |= arrived
            partly = upload.arrived
            if len(arrived) < len(group) or budget.is_up:
                break
    finally:
        upload.close()
    known["sent"] = sorted(sent)
    done = sum(files[i].size for i in sent)
    if not sent.issuperset(large) or budget.is_up:
        return Advance(state=known, files_done=len(sent), bytes_done=done + partly)
    commit, card = _commit(repo, regular)
    notes.forget_all()
    result = _result(repo, commit, card)
    return Advance(
        state=known | {"commit": commit, "card": card},
        done=True,
        files_done=len(files),
        bytes_done=shipment.bytes,
        result=result,
    )


def _commit(repo: HubRepository, regular: set[int]) -> tuple[str, bool]:
    """The commit at which everything is there, and whether the model card is ours."""
    files = repo.shipment.files
    for _ in range(COMMITS):
        head = repo.head()
        there = repo.there(head, [*(f.path for f in files), CARD])
        card = repo.card(head, there.get(CARD))
        operations = list(_operations(repo, regular, there, card))
        if not operations and head is not None:
            return head, card.text is not None
        commit = repo.commit(operations, head)
        if commit is not None:
            return commit, card.text is not None
    raise DeliveryFault(
        "conflict",
        f"Somebody else keeps writing to {repo.words.repo_id}.",
        "Nothing to do: it is tried again. If it goes on, look for another program that writes there.",
        retry=True,
    )


def _operations(
    repo: HubRepository, regular: set[int], there: Mapping[str, RepoFile], card: Card
) -> Iterator[CommitOperationAdd]:
    found = there.get(CARD)
    if card.text is not None and (found is None or found.blob_id != git_oid(card.data)):
        yield CommitOperationAdd(CARD, card.data)
    for index, file in enumerate(repo.shipment.files):
        info = there.get(file.path)
        if index in regular:
            data = repo.read(file)
            if info is None or info.blob_id != git_oid(data):
                yield CommitOperationAdd(file.path, data)
        elif info is None or not is_same(file, info):
            operation = CommitOperationAdd(file.path, b"")
            operation.upload_info = UploadInfo(
                size=file.size, sample=repo.read(file, SAMPLE_BYTES), sha256=bytes.fromhex(file.sha256)
            )
            operation.path_or_fileobj = _Uploaded()
            yield operation


def _result(repo: HubRepository, commit: str, card: bool) -> dict[str, Any]:
    url = f"{repo.words.endpoint}/{repo.words.repo_id}"
    return {
        "repo_id": repo.words.repo_id,
        "revision": repo.revision,
        "commit": commit,
        "url": url,
        "commit_url": f"{url}/commit/{commit}",
        "card": "written" if card else "README.md was there already and was left as it is",
    }


def _groups(indices: Sequence[int], files: Sequence[ShippedFile]) -> Iterator[list[int]]:
    group: list[int] = []
    taken = 0
    for index in indices:
        if group and (len(group) >= GROUP_FILES or taken + files[index].size > GROUP_BYTES):
            yield group
            group, taken = [], 0
        group.append(index)
        taken += files[index].size
    if group:
        yield group


def is_same(file: ShippedFile, info: RepoFile) -> bool:
    """Whether a large file at the Hub is this one."""
    return info.lfs is not None and info.lfs.sha256 == file.sha256 and info.lfs.size == file.size


def git_oid(data: bytes) -> str:
    """What git calls a file of this content (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects)."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def fingerprint(files: Sequence[ShippedFile]) -> str:
    """Tells one list of files from another: indices are of no use with another list."""
    return hashlib.sha256("\n".join(f"{f.path} {f.sha256}" for f in files).encode()).hexdigest()[:16]
