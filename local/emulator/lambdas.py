"""Lambda as AWS runs it: a bound on workers, exception names, workers that survive an exception, quick cold starts.

Gaps of https://github.com/ministackorg/ministack 1.5.33, each guarded by the source it was seen in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

from local.emulator.codecache import CodeCache, ZipfileShim
from local.emulator.pins import require_source, require_text

Execute = Callable[..., dict[str, Any]]

WORKERS_PER_FUNCTION = 8
#: How long a call waits for a worker before it is throttled, as AWS would do at once: a burst on a laptop must not fail
#: where AWS would have scaled, and a function that calls itself must not wait for ever.
WAIT_SECONDS = 60.0
#: A handler that writes nothing pays this for every call (it was 50 ms).
QUIET_SECONDS = 0.002

_OLD_FAILURE = 'json.dumps({"status": "error", "error": str(e), "trace": traceback.format_exc()})'
# "ok" keeps the worker alive, as on AWS, where an exception ends the call and not the environment.
_NEW_FAILURE = (
    'json.dumps({"status": "ok", "result": None, "failure": '
    '{"type": type(e).__name__, "message": str(e), "trace": traceback.format_exc()}})'
)


def patch_lambdas(cache: CodeCache) -> None:
    """Raises PatchError when ministack's source is not the one we know."""
    runtime: Any = import_module("ministack.core.lambda_runtime")
    service: Any = import_module("ministack.services.lambda_svc")

    require_text("The Python worker script", runtime._PYTHON_WORKER_SCRIPT, _OLD_FAILURE)
    runtime._PYTHON_WORKER_SCRIPT = runtime._PYTHON_WORKER_SCRIPT.replace(_OLD_FAILURE, _NEW_FAILURE)

    drain = runtime.Worker._drain_stderr_bounded
    require_source(drain, "first_line_wait: float = 0.050", "elif elapsed >= first_line_wait")
    drain.__defaults__ = (QUIET_SECONDS, QUIET_SECONDS, 0.250)

    require_source(
        runtime.Worker._spawn, 'zipfile.ZipFile(os.path.join(self._tmpdir, "code.zip"))', "zf.extractall(code_dir)"
    )
    runtime.zipfile = ZipfileShim(cache)

    failures = threading.local()
    require_source(runtime.Worker.invoke, 'response["log"] = self._drain_stderr_bounded()', "result_box[0]")
    runtime.Worker.invoke = _surfacing_failures(runtime.Worker.invoke, failures)

    require_source(
        service._execute_function_warm,
        "result = worker.invoke(",
        'error_type = "Runtime.HandlerError"',
        '"errorMessage": error_msg,',
    )
    require_source(service._execute_function_dispatch, "result = _execute_function_warm(func, event, request_id)")
    require_source(service._throttle_response, "reason_code", "msg")
    service._execute_function_warm = bounded(
        _naming_failures(service._execute_function_warm, failures),
        throttled=lambda name: service._throttle_response(
            reason_code="ConcurrentInvocationLimitExceeded",
            msg=f"Rate Exceeded: {name} had {WORKERS_PER_FUNCTION} calls running for {WAIT_SECONDS:.0f} s",
        ),
    )


def _surfacing_failures(invoke: Execute, failures: threading.local) -> Execute:
    def patched(worker: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        failures.last = None
        response = invoke(worker, *args, **kwargs)
        failure = response.pop("failure", None)
        if failure is None:
            return response
        failures.last = failure
        return response | {"status": "error", "error": failure["message"], "trace": failure["trace"]}

    return patched


def _naming_failures(execute: Execute, failures: threading.local) -> Execute:
    """The errorType of a failed call becomes the exception's class name, as a state machine's Retry and Catch want."""

    def patched(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        failures.last = None
        result = execute(func, event, request_id)
        failure = failures.last
        if failure is not None and result.get("error"):
            result["body"] = {
                "errorMessage": failure["message"],
                "errorType": failure["type"],
                "requestId": request_id,
                "stackTrace": failure["trace"].splitlines(keepends=True)[1:-1],
            }
        return result

    return patched


def bounded(
    execute: Execute,
    throttled: Callable[[str], dict[str, Any]],
    limit: int = WORKERS_PER_FUNCTION,
    wait_seconds: float = WAIT_SECONDS,
) -> Execute:
    """``execute`` with at most ``limit`` calls of one function at a time; others wait, then get ``throttled(name)``.

    The emulator has no ceiling of its own and 200 executions would start 500 processes.
    """
    slots: dict[str, threading.Semaphore] = {}
    guard = threading.Lock()

    def patched(func: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        config = func.get("config") or func
        name = config.get("FunctionArn") or config.get("FunctionName", "unknown")
        with guard:
            slot = slots.setdefault(name, threading.Semaphore(limit))
        if not slot.acquire(timeout=wait_seconds):
            return throttled(name)
        try:
            return execute(func, event, request_id)
        finally:
            slot.release()

    return patched
