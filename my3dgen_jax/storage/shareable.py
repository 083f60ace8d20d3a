"""Removes private paths from files that people share.

Adapters, reports and images leave the machine that they were made on. A path
reveals a user's name and folder structure; its last part is enough to identify
what was meant.
"""

import json
import re
from typing import Any

# Absolute on some system, or in a home folder: /a/b, ~/a, C:\\a, \\\\host\\a.
_ABSOLUTE = re.compile(r"(?:~?[\\/]|~\w*[\\/]|[A-Za-z]:[\\/]|file://)")


def without_paths(value: Any) -> Any:
  """Plain data with absolute paths reduced to their last part.

  Args:
    value: dicts, lists and strings at any depth; JSON inside strings is read.
  """
  if isinstance(value, dict):
    return {name: without_paths(one) for name, one in value.items()}
  if isinstance(value, (list, tuple)):
    return [without_paths(one) for one in value]
  if not isinstance(value, str):
    return value
  if value[:1] in "{[" and value:
    try:
      return json.dumps(without_paths(json.loads(value)))
    except ValueError:
      return value
  if _ABSOLUTE.match(value) and "\n" not in value:
    return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
  return value


def has_paths(value: Any) -> bool:
  """Whether `without_paths` would change anything."""
  return json.dumps(without_paths(value)) != json.dumps(value)
