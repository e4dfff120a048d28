"""Reads back what a delivery left at the Hub, at its very commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.delivery.hub_send import CARD, HubRepository, fingerprint, git_oid, is_same
from chalicelib.domain.delivery_ports import Advance, Budget, DeliveryFault, ShippedFile

#: Read from the beginning, the middle and the end of each large file. What the Hub says of a file's SHA-256 is what it
#: was told, so a look at the content itself is needed too; all of it would be as much as was sent.
WINDOW = 64 * 1024


def confirm_step(repo: HubRepository, state: Mapping[str, Any], budget: Budget) -> Advance:
    """As ``Target.confirm``. Raises DeliveryFault ``corrupt_at_target``; with ``restart`` when the record differs (it
    is sent again), without retry when the record is right and the content is not."""
    files = repo.shipment.files
    commit = state.get("commit")
    if not isinstance(commit, str) or state.get("files") != fingerprint(files):
        raise _differs(repo, "the notes of this delivery are of other files")
    regular = set(state["regular"])
    looked = int(state.get("looked", -1))
    if looked < 0:
        there = repo.there(commit, [*(f.path for f in files), CARD])
        for index, file in enumerate(files):
            info = there.get(file.path)
            if info is None:
                raise _differs(repo, f"{file.path} is not there")
            same = info.blob_id == git_oid(repo.read(file)) if index in regular else is_same(file, info)
            if not same:
                raise _differs(repo, f"{file.path} is another file")
        if state.get("card") and CARD not in there:
            raise _differs(repo, f"{CARD} is not there")
        looked = 0
    large = [file for index, file in enumerate(files) if index not in regular]
    while looked < len(large):
        if budget.is_up:
            return Advance(state={**state, "looked": looked}, files_done=looked)
        _look(repo, commit, large[looked])
        looked += 1
    return Advance(
        state={**state, "looked": looked}, done=True, files_done=len(files), bytes_done=repo.shipment.bytes,
        result={"commit": commit, "verified": "sizes and SHA-256 of all files, and parts of their content"},
    )  # fmt: skip


def _look(repo: HubRepository, commit: str, file: ShippedFile) -> None:
    for start, length in _windows(file.size):
        ours = repo.read(file, length, start)
        if repo.content(commit, file.path, start, length) == ours:
            continue
        # Once more: a cache in between may have been in the middle of something.
        if repo.content(commit, file.path, start, length) != ours:
            raise DeliveryFault(
                "corrupt_at_target",
                f"The Hub says that {file.path} is right, and gives other content.",
                f"Delete the file at {repo.words.endpoint}/{repo.words.repo_id}, then deliver again; escrow has the "
                "right one.",
                retry=False,
            )


def _windows(size: int) -> Iterator[tuple[int, int]]:
    if size <= 3 * WINDOW:
        yield 0, size
        return
    for start in (0, (size - WINDOW) // 2, size - WINDOW):
        yield start, WINDOW


def _differs(repo: HubRepository, what: str) -> DeliveryFault:
    return DeliveryFault(
        "corrupt_at_target",
        f"{repo.words.repo_id} does not have what was sent: {what}.",
        "It is sent again.",
        retry=True,
        restart=True,
    )
