"""The checks of a draft that need nothing but itself and what this stack holds; both preflight and submit make them.

One that can't be made says so; it never passes in silence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from chalicelib.domain.check_results import CheckResult, CheckStatus, Finding, Level, result_of
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.destinations import label
from chalicelib.domain.entry_checks import CHECK as DATALOADER
from chalicelib.domain.entry_checks import Entry, check_entries
from chalicelib.domain.entry_keys import check_keys
from chalicelib.domain.entry_links import check_links
from chalicelib.domain.escrow import artifacts_prefix, scratch_prefix
from chalicelib.domain.failures import ProviderFault
from chalicelib.domain.media import Kind
from chalicelib.domain.option_checks import CHECK as OPTIONS
from chalicelib.domain.option_checks import check_options
from chalicelib.domain.ports import Ports
from chalicelib.domain.run_checks import CHECK as CONFIG
from chalicelib.domain.run_checks import check_run
from chalicelib.domain.run_length import CHECK as LENGTH
from chalicelib.domain.run_length import Length, Media, check_length, counts_make_sense, length_of
from chalicelib.domain.simpletuner_options import Options, options
from chalicelib.domain.trainer import DELIVERY_OPTIONS, NOT_THE_TRAINER, ConfigProblem, needs_upload
from chalicelib.errors import AppError
from chalicelib.services.dataset_facts import DatasetFacts
from chalicelib.services.dataset_lookup import pushed_elsewhere
from chalicelib.services.draft import Draft
from chalicelib.services.preflight_datasets import DATASETS, LEARNED, TOY, check_dataset, left_out
from chalicelib.services.preflight_known import gap_finding, gap_of, told_by_record

logger = logging.getLogger(__name__)

DELIVERY = "delivery"
#: Why a check with a defect was not made.
WENT_WRONG = "something went wrong on our side"
PROVIDER = "provider"
#: Nothing is asked of anybody, so nothing has passed.
_DELIVERED = "nothing to check: the model goes to this stack's own bucket; fetch it with stcloud jobs pull JOB"
_CHECKS = {
    "config": CONFIG,
    "dataloader_config": DATALOADER,
    "destinations": DELIVERY,
    "webhook_url": DELIVERY,
}
_ADVICE = {
    "credential_missing": "Store it, and check again. Secrets are typed in or piped, never part of a command.",
    "too_large": "Shorten the config or the dataloader.",
    "duplicate": "Keep one of the two.",
    "missing": "Add it.",
}


@dataclass(frozen=True)
class LocalChecks:
    """``on_sandbox``: trainings are a toy model's, which minds neither the size nor the number of pictures."""

    ports: Ports
    facts: DatasetFacts
    on_sandbox: bool = False

    def run(self, draft: Draft) -> list[CheckResult]:
        """All of them. Raises Unavailable when the database or the bucket does not answer. A check with a defect takes
        no other with it: it is SKIPPED, with a warning, so that a submit goes on only when that is accepted."""
        problems = [finding_of(p) for p in draft.problems]
        known = options()
        made = [
            _made(OPTIONS, lambda: result_of(OPTIONS, check_options(_as_launched(draft), known))),
            _made(CONFIG, lambda: result_of(CONFIG, self._config(draft))),
            _made(DATALOADER, lambda: result_of(DATALOADER, _dataloader(draft, known))),
            _made(DATASETS, lambda: self._datasets(draft)),
            _made(LENGTH, lambda: self._length(draft)),
            _made(DELIVERY, lambda: _destinations(draft)),
        ]
        return [_with(result, [p for p in problems if p.check == result.name]) for result in made] + [
            result_of(name, [p for p in problems if p.check == name])
            for name in dict.fromkeys(p.check for p in problems)
            if name not in {r.name for r in made}
        ]

    def _config(self, draft: Draft) -> Iterator[Finding]:
        if draft.prepared is None:
            return
        yield from check_run(draft.prepared.config, draft.prepared.max_train_steps, options())
        for change in draft.prepared.adjustments:
            # The check of the delivery says that, with what to do.
            if not change.endswith(NOT_THE_TRAINER):
                yield Finding(Level.NOTE, "adjusted", CONFIG, "config", f"{change}.", "")

    def _length(self, draft: Draft) -> CheckResult:
        media = self.media(draft)
        length = self.length(draft, media)
        if length is None:
            return CheckResult(LENGTH, CheckStatus.SKIPPED, reason="the config or the hardware has to be mended first")
        found = result_of(LENGTH, self._mild(check_length(length, media)))
        if length.per_pass is None:
            reason = "how many pictures there are is not known for every dataset"
            return CheckResult(LENGTH, CheckStatus.SKIPPED, found.findings, reason)
        return found

    @staticmethod
    def length(draft: Draft, media: list[Media]) -> Length | None:
        """What the run comes to; None while the config or the hardware is wrong."""
        if draft.prepared is None or draft.profile is None or not counts_make_sense(draft.prepared.config):
            return None
        learned = [e for e in draft.entries if e.kind in LEARNED]
        return length_of(
            draft.prepared.config,
            draft.prepared.max_train_steps,
            draft.profile.id,
            media,
            options(),
            whole=len(media) == len(learned),
        )

    def media(self, draft: Draft) -> list[Media]:
        """What each entry that is learned from brings, where that is known."""
        found = []
        for entry, version in self._located(draft):
            kind = LEARNED.get(entry.kind)
            if kind is None:
                continue
            count = self._count(entry, version, kind)
            if count is not None:
                found.append(Media(entry, count))
        return found

    def _count(self, entry: Entry, version: DatasetVersion, kind: Kind) -> int | None:
        report = self.facts.report(version)
        if report is not None and report.facts is not None:
            counts = report.facts.counts
            images = counts.images - left_out(entry, report.facts)
            return {Kind.IMAGE: images, Kind.VIDEO: counts.video, Kind.AUDIO: counts.audio}[kind]
        names = self.facts.names(version)
        return None if names is None else names.counts[kind]

    @staticmethod
    def _located(draft: Draft) -> Iterator[tuple[Entry, DatasetVersion]]:
        versions = {ref.entry_id: v for ref, v in zip(draft.references, draft.versions, strict=True)}
        for entry in draft.entries:
            version = versions.get(str(entry.data.get("id")))
            if version is not None and needs_upload(entry.data):
                yield entry, version

    def _datasets(self, draft: Draft) -> CheckResult:
        findings: list[Finding] = []
        waiting = 0
        gaps: list[str] = []
        for entry, version in self._located(draft):
            inspection = version.inspection
            if inspection is not None and not inspection.status.is_over:
                waiting += 1
            names, report = self.facts.names(version), self.facts.report(version)
            findings += self._places(draft, entry, version)
            findings += self._mild(check_dataset(draft, entry, names, report, version))
            findings += told_by_record(entry, version, report)
            gap = gap_of(entry, version, names, report)
            if gap is not None:
                gaps.append(gap)
                findings += gap_finding(entry, version, gap)
        findings += self._rights(draft)
        found = result_of(DATASETS, findings)
        if waiting and found.status is not CheckStatus.FAILED:
            verb = "is" if waiting == 1 else "are"
            reason = f"{waiting} of {len(draft.versions)} datasets {verb} still being inspected"
            return CheckResult(DATASETS, CheckStatus.PENDING, found.findings, "; ".join([reason, *dict.fromkeys(gaps)]))
        if gaps and found.status is not CheckStatus.FAILED:
            return CheckResult(DATASETS, CheckStatus.SKIPPED, found.findings, "; ".join(dict.fromkeys(gaps)))
        return found

    def _places(self, draft: Draft, entry: Entry, version: DatasetVersion) -> Iterator[Finding]:
        """An entry whose name says one dataset and whose folder another: which of them is used."""
        other = pushed_elsewhere(self.ports, draft.who.owner, entry.data, version)
        if other is not None:
            found = entry.finding(
                Level.WARNING,
                "id_and_folder_differ",
                "instance_data_dir",
                f"its id names the dataset '{version.dataset_id}', and its folder was pushed as '{other}'. "
                f"'{version.dataset_id}' is used.",
                f"To say which you mean, add dataset_id: '{other}' or '{version.dataset_id}'.",
            )
            yield replace(found, check=DATASETS)

    def _mild(self, findings: Iterable[Finding]) -> list[Finding]:
        """On the sandbox what is wrong with sizes and numbers is told, and holds nobody up."""
        return [_for_toys(f) if self.on_sandbox and f.code in TOY else f for f in findings]

    def _rights(self, draft: Draft) -> list[Finding]:
        """Whether the datasets' names fit into one set of temporary credentials."""
        try:
            # A job's id has the same length, whichever it is.
            self.ports.broker.check(
                read_prefixes=sorted({r.prefix for r in draft.references}),
                scratch_prefix=scratch_prefix(draft.who.owner, "0" * 26),
                write_prefix=artifacts_prefix(draft.who.owner, "0" * 26),
            )
        except ProviderFault as fault:
            return [
                Finding(Level.ERROR, fault.code, DATASETS, "dataloader_config", fault.message, "Use fewer datasets.")
            ]
        return []


def _made(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except (AppError, ProviderFault):
        raise
    except Exception:
        logger.exception("the check of %s failed", name)
        finding = Finding(
            Level.WARNING,
            "check_failed",
            name,
            "",
            f"The check of {name} could not be made: {WENT_WRONG}.",
            "Look at odd values, or go on without this check. Tell whoever runs this stack: its log has the reason.",
        )
        return CheckResult(name, CheckStatus.SKIPPED, (finding,), WENT_WRONG)


def _dataloader(draft: Draft, known: Options) -> Iterator[Finding]:
    yield from check_entries(draft.entries)
    yield from check_links(draft.plain, draft.entries)
    yield from check_keys(draft.entries, known)


def _for_toys(finding: Finding) -> Finding:
    if finding.level is Level.NOTE:
        return finding
    kind = "an error" if finding.level is Level.ERROR else "a warning"
    said = f"{finding.message} On a GPU this is {kind}; the sandbox's toy model does not mind."
    return replace(finding, level=Level.NOTE, message=said)


def _as_launched(draft: Draft) -> dict[str, object]:
    """The options that reach the trainer, as written where they do."""
    if draft.prepared is None:
        return draft.plain
    return {name: value for name, value in draft.prepared.config.items() if name != "num_train_epochs"}


def _with(result: CheckResult, more: list[Finding]) -> CheckResult:
    """``result`` with ``more`` findings."""
    if not more:
        return result
    joined = result_of(result.name, [*more, *result.findings])
    if joined.status is CheckStatus.FAILED or result.status in {CheckStatus.PASSED, CheckStatus.WARNED}:
        return joined
    return CheckResult(result.name, result.status, joined.findings, result.reason)


def finding_of(problem: ConfigProblem) -> Finding:
    """A reason to refuse as a finding."""
    root, last = problem.field.split(".")[0], problem.field.rpartition(".")[2]
    if problem.code.startswith("dataset_") or problem.code == "too_many_datasets":
        check = DATASETS
    elif _about_delivery(problem, last):
        check = DELIVERY
    else:
        check = _CHECKS.get(root, PROVIDER)
    message = problem.message
    if not message[:1].isupper():
        # The number of an entry is no name of anything.
        message = f"{message[:1].upper()}{message[1:]}" if last.isdigit() else f"{last}: {message}"
    advice = problem.advice or _ADVICE.get(problem.code, f"Mend {problem.field} and check again.")
    return Finding(Level.ERROR, problem.code, check, problem.field, f"{message.rstrip('.')}.", advice)


def _about_delivery(problem: ConfigProblem, last: str) -> bool:
    if problem.code == "secret_in_config":
        return False
    option = last in DELIVERY_OPTIONS or "publishing_config" in problem.field
    return option or problem.code.startswith("credential_")


def _destinations(draft: Draft) -> CheckResult:
    found = result_of(DELIVERY, _delivery(draft))
    return found if draft.destinations else CheckResult(DELIVERY, CheckStatus.SKIPPED, found.findings, _DELIVERED)


def _delivery(draft: Draft) -> Iterator[Finding]:
    for wish in draft.destinations:
        yield Finding(
            Level.NOTE,
            "will_be_delivered",
            DELIVERY,
            "destinations",
            f"The model is sent to {label(wish.destination)} by this service, after verification in its own bucket.",
            "Whatever happens there, the model stays in this stack's bucket: stcloud jobs pull JOB.",
        )
    said = [name for name in DELIVERY_OPTIONS if draft.plain.get(name)]
    if said and not draft.destinations:
        yield Finding(
            Level.NOTE,
            "not_delivered",
            DELIVERY,
            f"config.{said[0]}",
            f"{' and '.join(said)} say nothing here: the model goes to this stack's own bucket and is verified there.",
            "Fetch it when the job is completed: stcloud jobs pull JOB. To have it sent: push_to_hub with "
            "hub_model_id, or destinations.",
        )
