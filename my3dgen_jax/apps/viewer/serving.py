"""Runs a viewer from its start to the signal that ends it."""

import sys
import time

from my3dgen_jax.apps import gate
from my3dgen_jax.apps.viewer.server import Viewer
from my3dgen_jax.jobs.interrupts import StopRequest


def serve(viewer: Viewer, stop: StopRequest, *, open_browser: bool = False):
  """Serves until a signal arrives; prints the address, and a warning if public.

  Args:
    viewer: the viewer to serve.
    stop: request to stop, checked ten times a second.
    open_browser: open the address in this machine's browser, if it has a
      screen.

  Raises: as `Viewer.start`.
  """
  address = viewer.start()
  if not gate.is_local(viewer.config.host) and viewer.config.token is None:
    print(
      "warning: anyone who can reach this machine can use the viewer; restrict "
      "access with --token",
      file=sys.stderr,
    )
  print(f"open {address} (Ctrl-C stops the viewer)", flush=True)
  if open_browser:
    gate.open_page(address)
  while stop.signal is None:
    time.sleep(0.1)
  viewer.stop()
