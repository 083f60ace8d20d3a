"""Prints every command's flags as JSON: kind, default, bounds and choices.

    python -m tests.launch.flag_table > tests/launch/flags.json

One process imports all commands, one after the other; before each it forgets
the flags and the modules of the one before.
"""

import importlib
import json
import os
import pkgutil
import sys
from typing import Any
from unittest import mock

from absl import app, flags

PACKAGE = "my3dgen_jax.launch"


def commands() -> list[str]:
  """The names of all commands."""
  return sorted(
    info.name
    for info in pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    if not info.ispkg
  )


def flags_of(command: str) -> dict[str, dict[str, Any]]:
  """What the flags of a command are, by their names."""
  for name in list(flags.FLAGS):
    delattr(flags.FLAGS, name)
  for name in [name for name in sys.modules if name.startswith(PACKAGE)]:
    del sys.modules[name]
  module = importlib.import_module(f"{PACKAGE}.{command}")
  with mock.patch.object(app, "run"):
    module.cli.run(module.main)  # declares what all commands have
  return {name: _described(flags.FLAGS[name]) for name in flags.FLAGS}


def _described(flag: flags.Flag) -> dict[str, Any]:
  found = {"kind": flag.flag_type(), "default": flag.default}
  for name in ("lower_bound", "upper_bound", "enum_values"):
    value = getattr(flag.parser, name, None)
    if value is not None:
      found[name] = value
  return found


def _as_json(table: dict[str, dict[str, Any]]) -> str:
  """A line for each flag."""
  return (
    "{\n"
    + ",\n".join(
      f"{json.dumps(command)}: {{\n"
      + ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(flag)}"
        for name, flag in sorted(found.items())
      )
      + "\n}"
      for command, found in table.items()
    )
    + "\n}"
  )


if __name__ == "__main__":
  os.environ.pop("XDG_CACHE_HOME", None)  # in the default of --cache
  print(_as_json({name: flags_of(name) for name in commands()}))
