"""Orbax with errors that come early and fit on one line."""

import contextlib
import errno
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax

from my3dgen_jax.errors import CheckpointError

_DISK_ALLOWANCE = 2**20  # bytes for everything that is not numbers


@contextlib.contextmanager
def checkpointer(failure: str) -> Iterator[Any]:
  """Orbax's checkpointer; its failures become one `CheckpointError`.

  Args:
    failure: start of the message, before the reason.
  """
  # It takes a second to import, and code that only builds models needs none.
  import orbax.checkpoint as ocp  # pylint: disable=import-outside-toplevel

  # Failures are raised; its threads need not log them, too.
  loggers = [logging.getLogger(name) for name in ("absl", "asyncio", "orbax")]
  levels = [logger.level for logger in loggers]
  try:
    for logger in loggers:
      logger.setLevel(logging.CRITICAL)
    alone = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
      # Orbax would wait for all processes, but each reads and writes alone.
      index = jax.process_index()
      alone = ocp.options.MultiprocessingOptions(
        primary_host=index,
        active_processes={index},
        barrier_sync_key_prefix=f"alone{index}",
      )
    with ocp.StandardCheckpointer(multiprocessing_options=alone) as orbax:
      yield orbax
  except CheckpointError:
    raise
  # Orbax and TensorStore raise a dozen types of errors for disks and files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
    raise CheckpointError(f"{failure}: {reason}") from error
  finally:
    for logger, level in zip(loggers, levels):
      logger.setLevel(level)


def check_space(path: str | os.PathLike, tree: Any):
  """Refuses writes that would fill the disk.

  Orbax writes from many threads and fails untidily on a full disk.

  Args:
    path: path to be written, in a folder that exists.
    tree: the arrays.

  Raises: CheckpointError, caused by an OSError: it is not an input error.
  """
  path = pathlib.Path(path)
  needed = _DISK_ALLOWANCE + sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
  free = shutil.disk_usage(path.parent).free
  if free < needed:
    raise CheckpointError(
      f"{path}: no space left: {needed / 1e6:.0f} MB are needed, "
      f"{free / 1e6:.0f} MB are free"
    ) from OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
