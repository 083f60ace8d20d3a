"""Flags and their values under old names, which work for one version."""

import re
import sys
from collections.abc import Sequence

from absl import flags

# They go with the next version: flags, and values of flags.
NAMES = {"min_colour": "min_color"}
VALUES = {("task", "colour"): "color"}


def renamed(arguments: Sequence[str]) -> list[str]:
  """Command-line arguments in today's names, with a note for each old one.

  Args:
    arguments: after the command's name, flagfiles already read.
  """
  result, is_value_of = [], ""
  for i, argument in enumerate(arguments):
    if argument == "--":
      return result + list(arguments[i:])
    match = re.fullmatch(r"(--?)([^=]+)(?:(=)(.*))?", argument, re.DOTALL)
    if is_value_of and not match:
      result.append(_value(is_value_of, argument))
    elif match and _name(match[2]) in flags.FLAGS:
      name = _name(match[2])
      if name != match[2]:
        _note(f"--{match[2]} is now --{name}")
      value = match[3] and _value(name, match[4])
      result.append(match[1] + name + (f"={value}" if match[3] else ""))
    else:
      result.append(argument)
    is_value_of = _name(match[2]) if match and not match[3] else ""
  return result


def _name(name: str) -> str:
  return NAMES.get(name, name)


def _value(name: str, value: str) -> str:
  new = VALUES.get((name, value), value)
  if new != value:
    _note(f"--{name}={value} is now --{name}={new}")
  return new


def _note(text: str):
  print(
    f"note: {text}; the old name goes with the next version", file=sys.stderr
  )
