"""The info command: exact counts, provenance, one line for bad input."""

import pathlib
import tempfile

import jax
from absl.testing import absltest, parameterized

from my3dgen_jax import lora
from my3dgen_jax.apps import describe
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.models.checkpoint import save_generator
from tests.support import commands
from tests.support.tiny import random_variables, TINY

ROOT = pathlib.Path(__file__).resolve().parents[2]


class DescribeTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, "kernel", 240030, 219174),
    (4, "kernel", 897552, 876696),
    (16, "kernel", 3527640, 3506784),
    (1, "rank", 111966, 91110),
    (1, "original", 161118, 140262),
  )
  def test_counts(self, rank, layout, total, pairs):
    lines = describe.describe_preset(
      "ffhqrebalanced512-128", LoraConfig(rank=rank, conv_rank=layout)
    )
    self.assertEqual(
      lines[-1], f"lora: {total} numbers ({pairs} in A and B), base: 30662136"
    )

  def test_no_weights_are_allocated(self):
    size = lambda: sum(array.nbytes for array in jax.live_arrays())
    before = size()
    describe.describe_preset("afhqcats512-128", LoraConfig(rank=16))
    self.assertLess(size() - before, 100_000)

  def test_checkpoint_and_adapter(self):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      save_generator(
        folder / "ck", TINY, random_variables(), source={"file": "a.pkl"}
      )
      text = "\n".join(
        describe.describe_checkpoint(folder / "ck", LoraConfig())
      )
      self.assertIn("source file: a.pkl", text)
      self.assertRegex(text, r"backbone/synthesis/b8 +\d+ +\d+\n")
      config = LoraConfig(rank=2, alpha=3.0)
      adapter = lora.init(jax.random.key(0), TINY, config)
      lora.save(
        folder / "a.safetensors",
        adapter,
        config,
        metadata={"base_sha256": "0f", "settings": '{"steps": 9}'},
      )
      lines = describe.describe_adapter(folder / "a.safetensors")
      self.assertIn("lora rank 2, alpha 3", lines[1])
      self.assertIn("base_sha256: 0f", lines)
      self.assertIn("steps: 9", lines)
      count = lora.count(adapter)
      self.assertEqual(
        lines[-1], f"lora: {count.total} numbers ({count.pairs} in A and B)"
      )


class InfoCommandTest(absltest.TestCase):
  def run_command(self, *flags):
    result = commands.run("info", *flags, cwd=ROOT)
    return result.returncode, result.stdout, result.stderr

  def test_last_line(self):
    code, out, err = self.run_command(
      "--preset=ffhqrebalanced512-128", "--lora_rank=1"
    )
    self.assertEqual((code, err), (0, ""))
    self.assertEqual(
      out.splitlines()[-1],
      "lora: 240030 numbers (219174 in A and B), base: 30662136",
    )

  def test_bad_input(self):
    for code, pattern, *flags in (
      (2, "give exactly one of"),
      (1, "unknown name", "--preset=x"),
      (2, "give exactly one of", "--preset=x", "--run=y"),
      (1, "config.json: missing", "--run=/nowhere"),
      (1, "no such folder", "--checkpoint=/nowhere"),
      (1, "/nowhere: cannot be read", "--adapter=/nowhere"),
    ):
      found, out, err = self.run_command(*flags)
      self.assertEqual((found, out), (code, ""))
      self.assertRegex(err, rf"\Aerror: [^\n]*{pattern}[^\n]*\n\Z")


if __name__ == "__main__":
  absltest.main()
