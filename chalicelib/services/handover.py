"""What was made before there were people goes to the first admin: saved configs and datasets.

Until then everything belongs to the owner of this computer or to the holder of the deploy token, neither of whom
calls any more afterwards. Their jobs stay as they are: an admin sees everybody's. Each step is one write or may be
repeated, so a handover that broke off goes on at the first admin's next sign-in. No byte is moved: a version says where
its files lie.
"""

from __future__ import annotations

import logging

from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import Dataset, VersionStatus
from chalicelib.domain.people import Person
from chalicelib.domain.permissions import CallerKind
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.credential_handover import hand_over
from chalicelib.services.doors import Doors

logger = logging.getLogger(__name__)

#: The owners that end with the first admin: of this computer, and of the deploy token.
FORMER_OWNERS = ("local", "admin")
#: Configs and datasets of one owner in one go; the rest goes at the next sign-in.
MAX_THINGS = 25


class HandoverService:
    def __init__(self, ports: Ports, doors: Doors, audit: AuditService) -> None:
        self._ports = ports
        self._doors = doors
        self._audit = audit

    def give_to(self, person: Person, actor: Actor) -> int:
        """Hands over what is left, if this is the first admin; returns the number of things. Never raises: nobody's
        sign-in fails for it.

        Configs and credentials keep their names, unless the admin has another one of that name: then ``-local`` or
        ``-admin`` is put behind it. What an active job or an open delivery uses waits until that has ended, and so do
        uploads that are not complete.
        """
        moved = credentials = 0
        try:
            if self._doors.access.first_admin() != person.user_id:
                return 0
            for former in FORMER_OWNERS:
                configs, _ = self._ports.configs.list(former, limit=MAX_THINGS)
                moved += sum(self._config(config, person.user_id) for config in configs)
                credentials += hand_over(self._ports, former, person.user_id)
                datasets, _ = self._ports.datasets.list_datasets(former, limit=MAX_THINGS)
                if datasets and not self._works(former):
                    moved += sum(self._dataset(dataset, person.user_id) for dataset in datasets)
        except Exception:
            # Whatever it was: the admin is in, nothing is lost, and the next sign-in goes on.
            logger.exception("the handover to the first admin broke off")
        if moved or credentials:
            who = Actor(
                CallerKind.SESSION.value,
                person.user_id,
                person.username,
                person.user_id,
                actor.source_ip,
                actor.request_id,
            )
            target, details = f"user:{person.user_id}", {"configs_and_datasets": moved}
            if credentials:
                details["credentials"] = credentials
            self._audit.note(who, AuditAction.SETUP_HANDOVER, AuditResult.ALLOWED, target=target, details=details)
        return moved + credentials

    def _works(self, owner: str) -> bool:
        jobs = (self._ports.jobs.get(job_id) for job_id in self._ports.jobs.slot_holders(owner))
        return any(job is not None and not job.is_terminal for job in jobs)

    def _config(self, latest: TrainingConfig, owner: str) -> bool:
        """False when even the other name is taken by something else."""
        store, former = self._ports.configs, latest.owner
        oldest_first = list(reversed(store.versions(former, latest.name)))
        for name in (latest.name, f"{latest.name[:90]}-{former}"):
            copies = [
                config.model_copy(update={"owner": owner, "name": name, "version": number})
                for number, config in enumerate(oldest_first, 1)
            ]
            # Also when some of them were written by an earlier try.
            there = list(reversed(store.versions(owner, name)))
            if there != copies[: len(there)]:
                continue
            for copy in copies[len(there) :]:
                store.save(copy)
            store.delete(former, latest.name)
            return True
        return False

    def _dataset(self, dataset: Dataset, owner: str) -> bool:
        """False when something of it stays behind. The admin's own record wins, and gets the versions it lacks."""
        store, former = self._ports.datasets, dataset.owner
        if store.get_dataset(owner, dataset.dataset_id) is None:
            store.put_dataset(dataset.model_copy(update={"owner": owner, "revision": 1}))
        left = False
        for version in store.list_versions(former, dataset.dataset_id):
            if version.status is not VersionStatus.READY:
                left = True
                continue
            try:
                store.move_version(version, owner)
            except StaleRecordError:
                left = True  # the admin has the same one already, or somebody is at it
        if not left:
            store.delete_dataset(dataset)
        return not left
