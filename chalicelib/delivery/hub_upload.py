"""Large files to the Hub's storage, in parts at once, from where the last step stopped.

The library's own upload reads parts one after the other, forgets them all at the first refused link, and can't stop
for the end of an invocation (https://github.com/huggingface/huggingface_hub/issues/2539,
https://github.com/huggingface/huggingface_hub/blob/v2.4.0/src/huggingface_hub/lfs.py), so of it only the batch request
is used. Links may end while a file is on its way (https://github.com/huggingface/huggingface_hub/issues/1311 shows 900
seconds): a refused one makes a new plan for that file.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

from chalicelib.delivery.hub_faults import HubWords, excerpt, malformed, timed_out, unreachable
from chalicelib.delivery.hub_plans import Notes, Plan
from chalicelib.delivery.hub_session import (
    LFS_HEADERS,
    UploadInfo,
    post_lfs_batch_info,
    storage_client,
    translated,
)
from chalicelib.domain.delivery_ports import Budget, DeliveryFault, ShippedFile
from chalicelib.domain.objects import ObjectStore
from chalicelib.errors import Unavailable

PARTS_AT_ONCE = 4
#: Read from escrow at once; a part is never in memory as a whole.
SLICE = 4 * 1024 * 1024
#: Plans of one file in one step, when links are refused.
MAX_ROUNDS = 4
#: Steps that try to put the same parts together.
MAX_FINISHES = 3
#: Quick tries of one request, before the delivery as a whole waits for its next try.
TRIES = 3
#: No longer pause is made while a function is running.
MAX_NAP = 5.0
#: Seconds that a part may run over the end of the step.
OVERRUN = 180.0
#: Bytes a second and thread, before there is any experience.
EXPECTED_PACE = 8 * 1024 * 1024
SAVE_SECONDS = 15.0
_MD5 = re.compile(r"[0-9a-f]{32}")

T = TypeVar("T")


class LargeUpload:
    """Sends files to the storage of one repository. ``arrived`` counts bytes of files that are not
    whole yet."""

    def __init__(
        self,
        escrow: ObjectStore,
        notes: Notes,
        words: HubWords,
        token: str,
        revision: str,
        budget: Budget,
        *,
        read_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._escrow, self._notes, self._words = escrow, notes, words
        self._token, self._revision, self._budget = token, revision, budget
        self._sleep, self._monotonic = sleep, monotonic
        self._client = storage_client(PARTS_AT_ONCE, read_seconds=read_seconds)
        self._pace = float(EXPECTED_PACE)
        self._begun = 0
        self._lock = threading.Lock()
        self.arrived = 0

    def close(self) -> None:
        self._client.close()

    def send(self, files: Sequence[ShippedFile]) -> set[str]:
        """The SHA-256 of those that are there now; some are missing when time was up. Raises DeliveryFault."""
        by_oid = {file.sha256: file for file in files}
        todo = dict(by_oid)
        for _ in range(MAX_ROUNDS):
            plans = self._plans(list(todo.values()))
            for oid in set(todo) - {plan.oid for plan in plans}:
                del todo[oid]
            try:
                whole = self._parts(plans, by_oid)
            finally:
                for plan in plans:
                    if not plan.expired:
                        self._notes.arrived(plan)
            for plan in plans:
                if not plan.expired and not plan.missing:
                    self._finish(plan)
                if not plan.expired and not plan.missing:
                    del todo[plan.oid]
                if plan.expired or not plan.missing:
                    self._notes.forget(plan)
            self.arrived = sum(plan.arrived for plan in plans if plan.oid in todo and not plan.expired)
            if not todo or not whole or self._budget.is_up:
                return set(by_oid) - set(todo)
        raise DeliveryFault(
            "unavailable",
            "The Hub's storage refuses the links that the Hub itself gave.",
            "Nothing to do: it is tried again. If it goes on, look at https://status.huggingface.co",
            retry=True,
        )

    def _plans(self, files: Sequence[ShippedFile]) -> list[Plan]:
        """Of the files whose content is not there yet: those noted, or new ones.

        When the parts were to be put together before, nobody may have heard that they were: the Hub is asked. What it
        still misses after MAX_FINISHES is sent anew, as its upload must be broken."""
        plans, unknown = [], []
        for file in files:
            noted = self._notes.load(file.sha256, file.size)
            if noted is not None and not noted.finishes:
                plans.append(noted)
            else:
                unknown.append((file, noted))
        asked = {plan.oid: plan for plan in (self._ask([file for file, _ in unknown]) if unknown else [])}
        for file, noted in unknown:
            fresh = asked.get(file.sha256)
            if fresh is not None and noted is not None and noted.finishes < MAX_FINISHES:
                plans.append(noted)
            elif fresh is not None:
                self._notes.begin(fresh)
                plans.append(fresh)
            elif noted is not None:
                self._notes.forget(noted)
        return plans

    def _ask(self, files: Sequence[ShippedFile]) -> list[Plan]:
        wanted = [UploadInfo(size=f.size, sample=b"", sha256=bytes.fromhex(f.sha256)) for f in files]

        def batch() -> tuple[list[dict[str, Any]], list[dict[str, Any]], str | None]:
            with translated(self._words):
                return post_lfs_batch_info(
                    upload_infos=wanted,
                    token=self._token,
                    repo_type="model",
                    repo_id=self._words.repo_id,
                    revision=self._revision,
                    endpoint=self._words.endpoint,
                )

        actions, errors, _ = self._patiently(batch)
        for error in errors:
            said = str((error.get("error") or {}).get("message"))
            raise self._words.answered(int((error.get("error") or {}).get("code") or 422), {}, said)
        sizes = {f.sha256: f.size for f in files}
        if {(a.get("oid"), a.get("size")) for a in actions} != set(sizes.items()):
            raise malformed("the batch is of other files")
        return [plan for action in actions if (plan := Plan.of(action))]

    def _parts(self, plans: Sequence[Plan], files: dict[str, ShippedFile]) -> bool:
        """Sends what is missing. False when time was up. Raises what stopped it."""
        units = deque((plan, number) for plan in plans for number in plan.missing)
        failed: list[BaseException] = []
        saved = self._monotonic()

        def work() -> bool:
            nonlocal saved
            while not failed:
                with self._lock:
                    if not units:
                        return True
                    plan, number = units[0]
                    if not self._fits(plan.length(number)):
                        return False
                    units.popleft()
                    self._begun += 1
                    save = self._monotonic() - saved > SAVE_SECONDS
                    saved = self._monotonic() if save else saved
                try:
                    if save:
                        self._notes.arrived(plan)
                    if not plan.expired:
                        self._part(plan, number, files[plan.oid])
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised below, by the caller
                    failed.append(error)
            return False

        count = min(PARTS_AT_ONCE, len(units))
        if not count:
            return True
        with ThreadPoolExecutor(count, thread_name_prefix="part") as pool:
            ended = [pool.submit(work) for _ in range(count)]
            results = [one.result() for one in ended]
        if failed:
            raise failed[0]
        return all(results)

    def _fits(self, size: int) -> bool:
        """Whether a part of that size may be begun; the first ones of a step always are, or nothing would ever move."""
        if self._begun < PARTS_AT_ONCE:
            return not (self._begun and self._budget.is_up)
        return self._budget.left().total_seconds() > size / self._pace

    def _part(self, plan: Plan, number: int, file: ShippedFile) -> None:
        def put() -> str | None:
            return self._put(plan, number, file)

        began = self._monotonic()
        etag = self._patiently(put)
        if etag is None:
            plan.expired = True
            return
        with self._lock:
            plan.etags[number] = etag
            measured = plan.length(number) / max(self._monotonic() - began, 0.001)
            self._pace = min(measured, 0.7 * self._pace + 0.3 * measured)

    def _put(self, plan: Plan, number: int, file: ShippedFile) -> str | None:
        """The part's ETag; None when the link is not good any more."""
        start, length = (number - 1) * plan.chunk, plan.length(number)
        digest = hashlib.md5(usedforsecurity=False) if plan.chunk else hashlib.sha256()
        answer = self._client.put(
            plan.links[number - 1],
            content=self._slices(file, start, length, digest.update),
            headers={**plan.headers, "Content-Length": str(length)},
        )
        if answer.status_code in {400, 401, 403, 404, 410}:
            return None
        if not answer.is_success:
            raise unreachable(f"storage answered {answer.status_code}: {excerpt(answer.text)}")
        if not plan.chunk:
            if digest.hexdigest() != file.sha256:
                raise _source_gone(file)
            return answer.headers.get("etag") or "-"
        etag = answer.headers.get("etag")
        if not etag:
            raise malformed("a part without ETag")
        # With a key of AWS's key service the ETag is no MD5 and says nothing.
        said = etag.strip('"').lower()
        encrypted = answer.headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        if _MD5.fullmatch(said) and said != digest.hexdigest() and not encrypted:
            raise unreachable("a part arrived with other content")
        return str(etag)

    def _slices(self, file: ShippedFile, start: int, length: int, seen: Callable[[bytes], object]) -> Iterator[bytes]:
        stop_at = self._monotonic() + max(self._budget.left().total_seconds(), 0.0) + OVERRUN
        at, end = start, start + length
        while at < end:
            if self._monotonic() > stop_at:
                raise timed_out("the Hub's storage takes the content too slowly")
            try:
                block = self._escrow.get(file.source_key, start=at, length=min(SLICE, end - at))
            except Unavailable as error:
                raise DeliveryFault(
                    "unavailable", "The escrow store is busy.", "Nothing to do: it is tried again.", retry=True
                ) from error
            if not block:
                raise _source_gone(file)
            seen(block)
            at += len(block)
            yield block

    def _finish(self, plan: Plan) -> None:
        """Puts the parts together and has the Hub look; a refusal makes a new plan, whose batch tells the truth."""
        if plan.complete is not None:
            plan.finishes += 1
            self._notes.arrived(plan)
            parts = [{"partNumber": number, "etag": plan.etags[number]} for number in range(1, len(plan.links) + 1)]
            if not self._post(plan.complete, {"oid": plan.oid, "parts": parts}):
                plan.expired = True
                return
        if plan.verify is not None and not self._post(plan.verify, {"oid": plan.oid, "size": plan.size}, signed=True):
            plan.expired = True

    def _post(self, url: str, body: dict[str, Any], *, signed: bool = False) -> bool:
        headers = dict(LFS_HEADERS)
        # The token goes to the Hub itself and to nobody else.
        if signed and urlsplit(url)[:2] == urlsplit(self._words.endpoint)[:2]:
            headers["Authorization"] = f"Bearer {self._token}"

        def post() -> bool:
            answer = self._client.post(url, json=body, headers=headers)
            if answer.status_code in {401, 403} and signed:
                raise self._words.answered(answer.status_code, answer.headers, answer.text)
            return answer.is_success

        return self._patiently(post)

    def _patiently(self, call: Callable[[], T]) -> T:
        """``call``, again after a moment when that may help."""
        for attempt in range(1, TRIES + 1):
            try:
                return call()
            except DeliveryFault as fault:
                asked = fault.retry_after.total_seconds() if fault.retry_after else 0.0
                if not fault.retry or fault.restart or attempt == TRIES or asked > MAX_NAP or self._budget.is_up:
                    raise
                self._sleep(max(float(attempt), asked))
        raise AssertionError("unreachable")


def _source_gone(file: ShippedFile) -> DeliveryFault:
    return DeliveryFault(
        "source_missing",
        f"The escrow copy of {file.path} is gone, or is not what was verified.",
        "Look at the job: stcloud jobs show JOB. Deliver what is left with --include.",
        retry=False,
    )
