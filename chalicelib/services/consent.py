"""Whether a person's data may leave their machine, and what would."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.archives import ARCHIVE_SUFFIXES
from chalicelib.domain.entry_checks import entries_of
from chalicelib.domain.jobs import DatasetRef
from chalicelib.domain.owner_settings import Consent
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.domain.trainer import needs_upload
from chalicelib.errors import BadRequest, Conflict, FieldError, PermissionDenied
from chalicelib.services.dataset_lookup import MAX_SHOWN, resolve

#: Tries to store a setting when several clients change it at once.
MAX_TRIES = 10


@dataclass(frozen=True)
class LocalDataset:
    """A local entry of a dataloader and the uploaded version that it stands for, if there is one."""

    entry_id: str
    folder: str
    uploaded: DatasetRef | None


@dataclass(frozen=True)
class ConsentPreview:
    consent: Consent
    datasets: tuple[LocalDataset, ...]
    message: str


class ConsentService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def get(self, owner: str) -> Consent:
        return self._ports.owner_settings.get(owner).consent

    def set(self, owner: str, wanted: str) -> Consent:
        """Raises BadRequest (``invalid_consent``), Conflict."""
        if wanted not in set(Consent):
            # SimpleTuner's own words, which its clients show.
            choices = "{" + ", ".join(repr(c.value) for c in sorted(Consent)) + "}"
            raise BadRequest(
                f"Invalid consent value: {wanted}. Must be one of: {choices}",
                code="invalid_consent",
                errors=[FieldError("consent", "is none of ask, allow, deny")],
            )
        consent = Consent(wanted)
        for _ in range(MAX_TRIES):
            before = self._ports.owner_settings.get(owner)
            if before.consent is consent and before.revision:
                return consent
            changes = {"consent": consent, "updated_at": self._ports.clock.now(), "revision": before.revision + 1}
            try:
                self._ports.owner_settings.put(before.model_copy(update=changes))
            except StaleRecordError:
                continue
            return consent
        raise Conflict("The setting is being changed at the same time; try again.", code="changed_meanwhile")

    def check_upload(self, owner: str) -> None:
        """Raises PermissionDenied (``consent_denied``) when the owner wants no data to be taken."""
        if self.get(owner) is Consent.DENY:
            raise PermissionDenied(
                "Your data consent is set to deny, so no data is taken. To allow uploads: stcloud consent set ask, or "
                'PUT /api/cloud/data-consent/setting {"consent": "ask"}.',
                code="consent_denied",
            )

    def preview(self, owner: str, dataloader: Sequence[Mapping[str, Any]]) -> ConsentPreview:
        """The local datasets of a dataloader: what is uploaded, and what is not yet. Changes nothing."""
        consent = self.get(owner)
        # An entry without a usable id can't be told from others; it is looked for by its folder.
        numbered = [{**entry, "id": str(entry.get("id", i))[:MAX_SHOWN]} for i, entry in enumerate(dataloader)]
        local = [e.data for e in entries_of({}, numbered) if needs_upload(e.data)]
        references, _, _ = resolve(self._ports, owner, local)
        known = {reference.entry_id: reference for reference in references}
        datasets = tuple(
            LocalDataset(
                entry_id=entry["id"],
                folder=str(entry.get("instance_data_dir") or entry.get("instance_data_root") or "")[:MAX_SHOWN],
                uploaded=known.get(entry["id"]),
            )
            for entry in local
        )
        return ConsentPreview(consent, datasets, _message(consent, datasets))


def _message(consent: Consent, datasets: Sequence[LocalDataset]) -> str:
    missing = [d for d in datasets if d.uploaded is None]
    if not datasets:
        return "No local datasets: nothing leaves your machine."
    if not missing:
        return f"{_datasets(len(datasets))} uploaded already; nothing leaves your machine."
    push = f"stcloud datasets push {missing[0].folder or '<folder>'}"
    said = f"{_datasets(len(missing))} not uploaded."
    if any(d.folder.lower().endswith(ARCHIVE_SUFFIXES) for d in missing):
        said += " An archive leaves your machine whole, and what is left out of it is left out here."
    match consent:
        case Consent.DENY:
            return f"{said} Your data consent is set to deny, so none will be."
        case Consent.ALLOW:
            return f"{said} Upload without being asked: {push}"
        case Consent.ASK:
            return f"{said} You are asked before anything is sent: {push}"


def _datasets(count: int) -> str:
    return "1 dataset is" if count == 1 else f"{count} datasets are"
