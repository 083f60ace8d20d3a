"""Old names of flags and values, accepted for one version."""

import re
import sys
from collections.abc import Sequence

from absl import flags

# Old to new names; removed in the next version.
NAMES = {"min_colour": "min_color"}
VALUES = {("task", "colour"): "color"}


def renamed(arguments: Sequence[str]) -> list[str]:
  """Replaces old names in the arguments, with a note on stderr for each.

  Args:
    arguments: the command line after the command's name, with flagfiles
      expanded.
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
    f"note: {text}; the old name will be removed in the next version",
    file=sys.stderr,
  )
