"""The log of a run that is cut and goes on."""

import pathlib
import sys
import tempfile
from unittest import mock

from absl.testing import absltest

from my3dgen_jax.jobs.logs import MetricsLog


class LogsTest(absltest.TestCase):
  def test_a_resumed_log_is_an_uninterrupted_one(self):
    with tempfile.TemporaryDirectory() as folder:
      whole, cut = (pathlib.Path(folder) / name for name in ("a", "b"))
      for path in (whole, cut):
        path.mkdir()
        with MetricsLog(path) as log:
          for step in (1, 2, 3):
            log.write(step, {"loss": 1 / step})
      with (cut / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # as a kill would
      with MetricsLog(cut, step=1) as log:
        for step in (2, 3):
          log.write(step, {"loss": 1 / step})
      self.assertEqual(
        (whole / "metrics.jsonl").read_text(),
        (cut / "metrics.jsonl").read_text(),
      )
      self.assertLen(list(cut.glob("events.*")), 2)

  def test_without_tensorboardx(self):
    """As on a machine that brings its own JAX and little else."""
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder)
      with (
        mock.patch.dict(sys.modules, {"tensorboardX.proto": None}),
        MetricsLog(path) as log,
      ):
        log.write(1, {"loss": 0.5})
      self.assertEqual(
        [file.name for file in path.iterdir()], ["metrics.jsonl"]
      )


if __name__ == "__main__":
  absltest.main()
