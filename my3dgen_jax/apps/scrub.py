"""Removes data that identifies the machine from finished files.

Current versions do not write such data; this is for files of older versions.
"""

import pathlib
import re
from collections.abc import Callable

from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.storage.shareable import without_paths
from my3dgen_jax.training import run_folder

# With the host's name between the time and the process.
_EVENTS = re.compile(r"(events\.out\.tfevents\.\d+)\..+\.(\d+\.\d+)")


def scrub_adapter(path: pathlib.Path, *, log: Callable[[str], None] = print):
  """Reduces absolute paths in an adapter's metadata to their last part.

  Args:
    path: the adapter file; its numbers do not change.
    log: called with a line about the result.

  Raises: CheckpointError: the file cannot be read; OSError: it cannot be
    written.
  """
  with tensor_files.opened(path, "an adapter") as file:
    metadata = dict(file.metadata() or {})
    tensors = {name: file.get_tensor(name) for name in file.keys()}
  clean = without_paths(metadata)
  changed = sorted(name for name in clean if clean[name] != metadata[name])
  if not changed:
    log(f"{path}: contains no paths")
    return
  with replacing(path) as file:
    file.write(tensor_files.encode(tensors, clean))
  log(f"{path}: removed paths from {', '.join(changed)}")


def scrub_run(folder: pathlib.Path, *, log: Callable[[str], None] = print):
  """Cleans the files of a run that are shared: its adapter and event files.

  config.json and run.flags keep their paths, which --resume needs.

  Args:
    folder: the run's folder.
    log: called with lines about the result.

  Raises: CheckpointError: the folder is not a run; see also `scrub_adapter`.
  """
  run_folder.read_config(folder)
  if (folder / run_folder.ADAPTER_FILE).exists():
    scrub_adapter(folder / run_folder.ADAPTER_FILE, log=log)
  for path in sorted(folder.glob("events.out.tfevents.*")):
    if match := _EVENTS.fullmatch(path.name):
      target = path.with_name(f"{match[1]}.{match[2]}")
      if not target.exists():
        path.rename(target)
        log(f"{path}: renamed to {target.name}, without the machine's name")
  log(
    f"{folder}: config.json and run.flags keep their paths, which --resume "
    "needs; do not share them"
  )
