"""How many programs a test compiles."""

import contextlib
from collections.abc import Iterator

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"


@contextlib.contextmanager
def compiled() -> Iterator[list[str]]:
  """The list grows by one entry for each program that is compiled."""
  found: list[str] = []

  def listen(event: str, *_, **details):
    if event == _COMPILED:
      found.append(str(details.get("fun_name", "")))

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
