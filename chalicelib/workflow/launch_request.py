"""What a launch asks of the provider, with fresh credentials."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.escrow import artifacts_prefix, scratch_prefix
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import Job
from chalicelib.domain.launch_payload import S3Location, index_keys, launch_dataloader, launch_inputs
from chalicelib.domain.ports import Ports, Provider
from chalicelib.domain.predictions import LaunchRequest

#: Credentials live on behind the provider's deadline, for queueing and publishing. STS allows 36 hours in all.
CREDENTIAL_MARGIN = timedelta(hours=2)
MAX_CREDENTIALS = timedelta(hours=36)


def build_request(job: Job, provider: Provider, ports: Ports) -> LaunchRequest:
    """The launch request with fresh temporary credentials, prefix-scoped and bound to this job.

    Writes the empty indices that the trainer looks for. Raises ProviderFault with ``sent`` False."""
    job_input = ports.jobs.get_input(job.job_id)
    if job_input is None:
        raise ProviderFault("The job's input is missing.", kind=FaultKind.USER, code="input_missing", sent=False)
    scratch = scratch_prefix(job.owner, job.job_id)
    output_prefix = artifacts_prefix(job.owner, job.job_id)
    credentials = ports.broker.scoped(
        name=job.job_id,
        read_prefixes=sorted({d.prefix for d in job.datasets}),
        scratch_prefix=scratch,
        write_prefix=output_prefix,
        duration=min(timedelta(seconds=job.max_run_seconds) + CREDENTIAL_MARGIN, MAX_CREDENTIALS),
    )

    def location(bucket: str, prefix: str) -> S3Location:
        return S3Location(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=ports.trainer_storage.endpoint_url,
            region=ports.trainer_storage.region,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
        )

    locations = {d.entry_id: location(ports.dataset_files.bucket, d.prefix) for d in job.datasets}
    for key in index_keys(job_input.dataloader, locations, scratch):
        ports.dataset_files.put(key, b"{}", content_type="application/json")
    return LaunchRequest(
        tag=job.job_id,
        profile=provider.profiles[job.hardware_profile],
        inputs=launch_inputs(
            job_input.config,
            launch_dataloader(job_input.dataloader, locations, scratch),
            output=location(ports.outputs.bucket, output_prefix),
            job_id=job.job_id,
            run_name=job.run_name or job.job_id,
        ),
        webhook_url=f"{ports.facts.public_url()}/api/webhooks/{job.provider}?job={job.job_id}",
        max_run_seconds=job.max_run_seconds,
    )
