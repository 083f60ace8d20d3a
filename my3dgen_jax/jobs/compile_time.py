"""The total time that this process has spent compiling."""

import functools
import threading

_EVENTS = (
  "/jax/core/compile/jaxpr_trace_duration",
  "/jax/core/compile/jaxpr_to_mlir_module_duration",
  "/jax/core/compile/backend_compile_duration",
)
_lock = threading.Lock()
_total = 0.0


def seconds() -> float:
  """Seconds of tracing and compiling since the first call; monotonic."""
  _listen()
  with _lock:
    return _total


@functools.cache
def _listen():
  # Importing this module must not require JAX.
  from jax import monitoring  # pylint: disable=import-outside-toplevel

  monitoring.register_event_duration_secs_listener(_add)


def _add(event: str, duration_secs: float, **_: str | int):
  global _total
  if event in _EVENTS:
    with _lock:
      _total += duration_secs
