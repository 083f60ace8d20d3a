"""Types of the package, by ty: none wrong in the public modules, and elsewhere
no more than there were.

    python -m tests.types.check             # compares with baseline.json
    python -m tests.types.check --update    # after errors were mended
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_BASELINE = pathlib.Path(__file__).with_name("baseline.json")
# What researchers import; no error may be there.
_PUBLIC = (
  "my3dgen_jax/__init__.py",
  "my3dgen_jax/cameras.py",
  "my3dgen_jax/config/",
  "my3dgen_jax/directions/",
  "my3dgen_jax/errors.py",
  "my3dgen_jax/latents.py",
  "my3dgen_jax/lora.py",
  "my3dgen_jax/models/",
  "my3dgen_jax/types.py",
)
_LINE = re.compile(r"(?P<file>[\w/]+\.py):\d+:\d+: error\[")


def find() -> tuple[dict[str, int], str]:
  """Errors of each file, and ty's own words."""
  done = subprocess.run(
    [
      pathlib.Path(sys.executable).with_name("ty"),
      "check",
      "--python",
      sys.prefix,
      "--output-format",
      "concise",
    ],
    cwd=_ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode not in (0, 1):
    sys.exit(f"error: ty ended with {done.returncode}: {done.stderr}")
  counts = collections.Counter(
    match["file"]
    for match in map(_LINE.match, done.stdout.splitlines())
    if match
  )
  return dict(sorted(counts.items())), done.stdout


def main(update: bool):
  found, words = find()
  if update:
    _BASELINE.write_text(json.dumps(found, indent=1) + "\n")
  known = json.loads(_BASELINE.read_text())
  worse = [file for file, count in found.items() if count > known.get(file, 0)]
  public = [file for file in found if file.startswith(_PUBLIC)]
  for line in words.splitlines():
    match = _LINE.match(line)
    if match and match["file"] in worse + public:
      print(line)
  if public:
    sys.exit(f"error: types of public modules: {', '.join(public)}")
  if worse:
    sys.exit(f"error: more type errors than before: {', '.join(worse)}")
  fewer = sum(known.values()) - sum(found.values())
  print(
    f"types: {sum(found.values())} known errors, none in public modules"
    + (f"; {fewer} fewer than before, keep that by --update" if fewer else "")
  )


if __name__ == "__main__":
  main("--update" in sys.argv[1:])
