"""The log of a run that is cut and goes on."""

import pathlib
import tempfile

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


if __name__ == "__main__":
  absltest.main()
