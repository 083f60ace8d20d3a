"""Makes the old run that `tests/apps/old_run_test.py` opens.

Run at the commit whose files are to be kept, from the repository's root:

    PYTHONPATH=. JAX_PLATFORMS=cpu python tests/golden/old_run/make.py

The run here is of f4b0f2b (version 0.1.0, 2026-11-28). Its base and album are
not kept: `tests.support.person` makes them again.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from tests.support import person

HERE = pathlib.Path(__file__).resolve().parent


def main():
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    person.write(folder / "person", count=4, raw=32)

    def command(name, *flags):
      subprocess.run(
        [sys.executable, "-m", f"my3dgen_jax.launch.{name}", *flags],
        cwd=folder,
        check=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
      )

    command(
      "personalize",
      "--checkpoint=person/base",
      "--album=person/album",
      "--lpips=person/lpips",
      "--out=run",
      "--cache=",
      "--test=1",
      "--devices=1",
      "--batch_size=2",
      "--raw_weight=0",
      "--anchor_steps=2",
      "--anchor_w_samples=50",
      "--steps=4",
      "--save_every=2",
      "--log_every=1",
      "--pictures=1",
      "--noreport",
    )
    command(
      "invert",
      "--run=run",
      "--album=person/album",
      "--photos=1",
      "--way=hull",
      "--hull_steps=3",
      "--frames=0",
      "--out=inverted",
    )
    for name in ("run", "inverted"):
      shutil.rmtree(HERE / name, ignore_errors=True)
      shutil.copytree(folder / name, HERE / name)


if __name__ == "__main__":
  main()
