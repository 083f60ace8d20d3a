"""Directions that are planted and found, and what follows them."""

import dataclasses
import json
import os
import pathlib
import signal
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax import directions, latents, lora
from my3dgen_jax.apps import edit
from my3dgen_jax.apps.editing import finding, labels, samples
from my3dgen_jax.apps.editing.config import APPLIES, EditConfig
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import CheckpointError, Interrupted, UserError
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.training import run_folder
from tests.support import commands, person
from tests.support.persons import tiny_person, with_identity

COUNT, W = 12, person.MODEL.w_dim  # as many anchors as span W
CONFIG = EditConfig(
  samples=40, batch_size=4, strengths=(-1.0, 0.0, 1.0), unit="w"
)


def unit(*entries):
  vector = np.zeros(W, np.float32)
  vector[: len(entries)] = entries
  return vector / np.linalg.norm(vector)


def brightness(pictures):
  return np.mean(pictures, axis=(1, 2, 3))


def near_anchors(count, seed=0):
  """Latents about the person's: the tiny mapping network's lie at 0."""
  noise = np.random.default_rng(seed).standard_normal((count, W))
  return (person.make(COUNT).ws[:, 0].mean(axis=0) + 0.5 * noise).astype(
    np.float32
  )


class Case(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.out = self.folder / "out"
    self.lines = []

  def starts(self, *names, one=None, **changes):
    return edit.find_starts(
      one or tiny_person(COUNT),
      names or ["photo00", "photo03.png"],
      dataclasses.replace(CONFIG, **changes),
      log=self.lines.append,
    )

  def write_npz(self, name, **arrays):
    made = person.make(COUNT)
    np.savez(self.folder / name, **{"c": made.c[0], **arrays})
    return str(self.folder / name)


class FindTest(Case):
  def test_samples_do_not_depend_on_their_number(self):
    generator, key = tiny_person(COUNT).generator, jax.random.key(0)
    w = samples.sample_latents(key, generator, 7)
    self.assertEqual(w.shape, (7, W))
    np.testing.assert_array_equal(
      samples.sample_latents(key, generator, 3), w[:3]
    )
    middle = samples.sample_latents(key, generator, 2, truncation_psi=0.0)
    np.testing.assert_array_equal(*middle)

  def test_a_planted_attribute(self):
    w = near_anchors(600)
    smile, age = unit(1, 2, 3), unit(0, 1, 1, 2)
    scores = {"smile": w @ smile, "age": w @ age}
    found = finding.find_direction(w, scores, "smile")
    self.assertGreater(found.vector @ smile, 0.97)
    self.assertGreater(found.accuracy, 0.95)
    free = finding.find_direction(w, scores, "smile", without=["age"])
    own = directions.fit(w, scores["age"], name="age")
    self.assertLess(abs(free.vector @ own.vector), 1e-5)
    self.assertEqual(free.accuracy, found.accuracy)
    self.assertAlmostEqual(free.spread, np.std(w @ free.vector), places=4)
    self.assertEqual(free.name, "smile without age")
    given = finding.find_direction(w, scores, "smile", without=[own])
    np.testing.assert_array_equal(given.vector, free.vector)

  def test_samples_without_a_label_do_not_count(self):
    w = near_anchors(600)
    scores = w @ unit(1, 2, 3)
    known = np.arange(600) % 2 == 0
    found = finding.find_direction(
      w, {"smile": np.where(known, scores, np.nan)}, "smile"
    )
    alone = directions.fit(w[known], scores[known], name="smile")
    np.testing.assert_array_equal(found.vector, alone.vector)

  def test_brightness_grows_along_its_direction(self):
    one = tiny_person(COUNT)
    w = near_anchors(200)
    scores = labels.label(
      one, w, labels.Measure("bright", brightness), batch_size=20
    )
    bright = finding.find_direction(w, scores, "bright")
    (start,) = self.starts("photo05", apply="w")
    strengths = bright.spread * np.linspace(-1, 1, 5)
    for apply in APPLIES:
      edited = edit.edit_strip(one, start, bright, strengths, apply=apply)
      self.assertTrue((np.diff(brightness(edited.images)) > 0).all(), apply)
      image = render.synthesize(
        one.generator, start.ws[None], start.c[None]
      ).image
      np.testing.assert_allclose(edited.images[2], image[0], atol=1e-5)

  def test_samples_and_their_labels(self):
    """Asked for at once; the labels are kept where they are said to be."""
    one, config = tiny_person(COUNT), EditConfig(samples=100, batch_size=4)
    of = lambda pictures: {"bright": brightness(pictures)}
    w, found = labels.label_samples(
      one, labels.Measure("mine", of), config, self.folder
    )
    np.testing.assert_array_equal(w, labels.samples_of(one, config))
    right = labels.label(one, w, labels.Measure("mine", of), batch_size=4)
    np.testing.assert_array_equal(found["bright"], right["bright"])
    _, again = labels.label_samples(
      one,
      labels.Measure("mine", lambda _: self.fail("known")),
      config,
      self.folder,
    )
    np.testing.assert_array_equal(again["bright"], found["bright"])

  def test_labels_are_remembered(self):
    one, w = tiny_person(COUNT), near_anchors(22)
    stop, seen = StopRequest(), []

    def measure(pictures):
      seen.append(len(pictures))
      if len(seen) == 2:
        stop.signal = signal.SIGTERM
      return {
        "bright": brightness(pictures),
        "red": np.mean(pictures[..., 0], axis=(1, 2)),
      }

    label = lambda measure, **options: labels.label(
      one,
      w,
      labels.Measure("mine", measure),
      batch_size=4,
      cache=self.folder,
      **options,
    )
    with self.assertRaisesRegex(Interrupted, "after 8 of 22 samples"):
      label(measure, stop=stop)
    found = label(measure)
    self.assertEqual(seen, [4, 4, 4, 4, 4, 2])
    self.assertCountEqual(found, ["bright", "red"])
    again = label(lambda pictures: self.fail("is known"))
    whole = labels.label(one, w, labels.Measure("mine", measure), batch_size=4)
    for name, values in found.items():
      np.testing.assert_array_equal(again[name], values)
      np.testing.assert_array_equal(whole[name], values)
    # Another generator's pictures are others.
    one = dataclasses.replace(one, digest="another")
    with self.assertRaisesRegex(UserError, "mine: .*4 finite numbers"):
      label(lambda pictures: np.full(4, np.nan))
    # What is damaged is measured again.
    for path in self.folder.glob("labels-*"):
      path.write_bytes(b"damaged")
    one, before = tiny_person(COUNT), len(seen)
    label(measure)
    self.assertGreater(len(seen), before)

  def test_samples_for_others_to_label(self):
    one = tiny_person(COUNT)
    folder = self.folder / "samples"
    config = dataclasses.replace(CONFIG, samples=5)
    samples.write_samples(one, config, folder)
    w, names = samples.read_samples(folder, w_dim=W)
    self.assertEqual(names, [f"{i:04d}.png" for i in range(5)])
    self.assertCountEqual(os.listdir(folder), [*names, "samples.npz"])
    np.testing.assert_array_equal(
      w, samples.sample_latents(jax.random.key(0), one.generator, 5)
    )
    origin = provenance.read_origin(folder / "0003.png")
    self.assertEqual(
      (origin.task, origin.adapter), ("edit", one.origin.adapter)
    )
    self.assertEqual(dict(origin.details)["sample"], "3")
    table = self.folder / "smile.csv"
    table.write_text(
      "name,smile\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names))
    )
    np.testing.assert_array_equal(
      directions.read_labels(table, names), range(5)
    )

    # A stopped command goes on with what is missing.
    picture = (folder / "0002.png").read_bytes()
    (folder / "0002.png").unlink()
    os.utime(folder / "0001.png", (0, 0))
    samples.write_samples(one, config, folder)
    self.assertEqual((folder / "0002.png").read_bytes(), picture)
    self.assertEqual((folder / "0001.png").stat().st_mtime, 0)
    for other in (
      dataclasses.replace(config, seed=1),
      dataclasses.replace(config, samples=6),
    ):
      with self.assertRaisesRegex(UserError, "holds other samples"):
        samples.write_samples(one, other, folder)
    with self.assertRaisesRegex(UserError, "samples.npz: w: .*9"):
      samples.read_samples(folder, w_dim=9)
    # People of one base share W; those of another do not.
    base = one.origin.base
    samples.read_samples(folder, w_dim=W, base=base)
    with self.assertRaisesRegex(
      CheckpointError, "samples.npz: holds samples of another base"
    ):
      samples.read_samples(folder, w_dim=W, base="0" * len(base))
    np.savez(folder / "samples.npz", w=w, digest=one.digest)  # older ones
    samples.read_samples(folder, w_dim=W, base=base)
    with self.assertRaisesRegex(UserError, "samples.npz: missing"):
      samples.read_samples(self.folder, w_dim=W)


class StartTest(Case):
  def test_photos(self):
    starts = self.starts("photo03", "photo00.png")
    self.assertEqual([start.name for start in starts], ["photo03", "photo00"])
    np.testing.assert_array_equal(starts[0].alpha, np.eye(COUNT)[3])
    self.assertLen(self.starts("all"), COUNT)

  def test_files(self):
    one = tiny_person(COUNT)
    hull = one.hull(0.02)
    alpha = np.asarray(hull.sample(jax.random.key(0), 1))
    ws = np.asarray(hull.latents(alpha))[0]
    plain = self.write_npz("plain.npz", ws=ws, alpha=alpha[0])
    layers = np.repeat(alpha, ws.shape[0], axis=0)
    layers[:2, 0] += 0.3
    own = np.asarray(hull.latents(layers[None]))[0]
    layered = self.write_npz("layered.npz", ws=own, alpha=layers)
    outside = self.write_npz("outside.npz", ws=ws + 3, alpha=alpha[0])
    first, second, third = self.starts(plain, layered, outside)
    np.testing.assert_allclose(first.alpha, alpha[0], atol=1e-6)
    np.testing.assert_array_equal(second.ws, own)
    np.testing.assert_array_equal(
      second.alpha,
      np.asarray(
        hull.project(hull.latents(layers.mean(axis=0, keepdims=True)))
      )[0],
    )
    # Its weights are of other anchors: it is moved, and one is told.
    self.assertLen(self.lines, 1)
    self.assertRegex(self.lines[0], r"outside.npz: moved onto the hull by 0.")
    np.testing.assert_allclose(
      hull.latents(third.alpha[None])[0], third.ws, atol=1e-5
    )
    (fourth,) = self.starts(outside, apply="w")
    np.testing.assert_array_equal(fourth.ws, ws + 3)
    self.assertIsNone(fourth.alpha)

  def test_bent_generators(self):
    one = tiny_person(COUNT)
    ws = person.make(COUNT).ws[0] + 0.5
    place = self.write_npz("bent.npz", ws=ws)
    config = LoraConfig(rank=1, alpha=1.0)
    bend = jax.tree.map(
      lambda leaf: leaf + 0.1,
      lora.init(jax.random.key(0), person.MODEL, config),
    )
    lora.save(
      self.folder / "bent.safetensors",
      bend,
      config,
      metadata={run_folder.BASE_DIGEST: one.digest},
    )
    (start,) = self.starts(place)
    np.testing.assert_array_equal(start.ws, ws)  # stays the pivot
    merged = lora.merge_into_params(one.generator.variables, bend, config)
    edited = edit.edit_strip(one, start, Direction("x", unit(1)), [0.0])
    np.testing.assert_allclose(
      edited.images[0],
      render.synthesize(
        one.generator.replace(variables=merged), ws[None], start.c[None]
      ).image[0],
      atol=1e-5,
    )
    lora.save(
      self.folder / "bent.safetensors",
      bend,
      config,
      metadata={run_folder.BASE_DIGEST: "other"},
    )
    with self.assertRaisesRegex(CheckpointError, "bent.*another generator"):
      self.starts(place)
    # A whole generator counts more than an adapter, and is looked at as well.
    for source, pattern in ((one.digest, None), ("other", "tuned from anoth")):
      save_generator(
        self.folder / "bent_generator",
        person.MODEL,
        merged,
        source={"tuned_from": source},
        overwrite=True,
      )
      if pattern is None:
        (start,) = self.starts(place)
        chex.assert_trees_all_equal(
          jax.tree.map(np.asarray, start.generator.variables),
          jax.tree.map(np.asarray, merged),
        )
      else:
        with self.assertRaisesRegex(CheckpointError, pattern):
          self.starts(place)

  def test_latents_of_another_base(self):
    ws = person.make(COUNT).ws[0]
    base = tiny_person(COUNT).origin.base
    self.starts(self.write_npz("mine.npz", ws=ws, base=np.array(base)))
    with self.assertRaisesRegex(CheckpointError, "other.npz: .*another base"):
      self.starts(self.write_npz("other.npz", ws=ws, base=np.array("other")))

  def test_strengths_need_samples_that_differ(self):
    with self.assertRaisesRegex(UserError, "x: the 1 samples do not differ"):
      finding.with_spread(
        tiny_person(COUNT), Direction("x", unit(1)), EditConfig(samples=1)
      )
    found = finding.with_spread(
      tiny_person(COUNT), Direction("x", unit(1)), EditConfig(samples=50)
    )
    self.assertGreater(found.spread, 1e-5)

  def test_bad_ones(self):
    bare = dataclasses.replace(tiny_person(COUNT), anchors=None)
    ws = person.make(COUNT).ws[0]
    for names, one, pattern in (
      (["photo99"], None, "unknown photo 'photo99': runs/tiny has photo00.png"),
      (["photo00"], bare, "unknown photo 'photo00': .*bare checkpoint"),
      (["all"], bare, "bare checkpoint"),
      (["photo00", "photo00.png"], None, "'photo00' appears twice"),
      (["nowhere.npz"], None, "nowhere.npz: missing"),
      ([self.write_npz("a.npz")], None, "a.npz: has no ws"),
      ([self.write_npz("b.npz", ws=ws[:, :3])], None, "b.npz: ws: "),
      ([self.write_npz("c.npz", ws=ws, c=np.zeros(25))], None, "c.npz: c"),
      ([self.write_npz("d.npz", ws=ws)], bare, "no anchors"),
    ):
      with self.assertRaisesRegex(UserError, pattern) as caught:
        self.starts(*names, one=one)
      self.assertNotIn("\n", str(caught.exception))


class EditTest(Case):
  def test_edges(self):
    one, beta = tiny_person(COUNT), 0.02
    start = self.starts()[0]._replace(
      alpha=np.full(COUNT, 1 / COUNT, np.float32),
      ws=np.mean(one.anchors.ws, axis=0),
    )
    strengths = np.linspace(-2, 2, 9)
    walk = {
      edge: edit.edited_latents(
        one, start, Direction("x", unit(1, -1)), strengths, edge=edge, beta=beta
      )
      for edge in latents.EDGES
    }
    for edge, (ws, alpha) in walk.items():
      np.testing.assert_allclose(alpha.sum(axis=1), 1, atol=1e-4)
      np.testing.assert_array_equal(ws[4], start.ws)
      self.assertEqual(alpha.min() < -beta - 1e-5, edge == "continue")
    gamma = one.hull(beta).coordinates(unit(1, -1)).gamma
    low, high = one.hull(beta).reach(start.alpha[None], gamma)
    along = (walk["stop"][0] - start.ws)[:, 0] @ unit(1, -1)
    np.testing.assert_allclose(
      along, np.clip(strengths, low, high), rtol=1e-3, atol=1e-4
    )
    # Projected ones leave the line for what is nearest.
    far = lambda edge: np.linalg.norm(
      walk[edge][0] - walk["continue"][0], axis=(1, 2)
    )
    self.assertTrue((far("project") <= far("stop") + 1e-4).all())
    self.assertLess(far("project")[0], 0.95 * far("stop")[0])

  def test_whole(self):
    folder = person.write(self.folder / "person", count=COUNT)
    one = with_identity(tiny_person(COUNT), folder / "album")
    config = dataclasses.replace(
      CONFIG, unit="spread", frames=3, turn=0.3, yaw=0.2, video=".gif"
    )
    smile = Direction("a smile/x", unit(1, 2), accuracy=0.9, spread=0.25)
    summary = edit.write_edits(
      one,
      self.starts(),
      smile,
      config,
      self.out,
      measure=labels.Measure("bright", brightness),
      log=self.lines.append,
    )
    self.assertCountEqual(
      os.listdir(self.out),
      [
        "strip.png",
        "edits.npz",
        "a_smile_x.npy",
        "summary.json",
        "photo00.gif",
        "photo03.gif",
      ],
    )
    for name in ("strip.png", "photo00.gif"):
      origin = provenance.read_origin(self.out / name)
      self.assertEqual(origin.task, "edit")
      self.assertEqual(dict(origin.details)["direction"], "a smile/x")
    with Image.open(self.out / "strip.png") as strip:
      self.assertEqual(strip.width, 3 * 64)
      self.assertGreater(strip.height, 2 * 64)
    with Image.open(self.out / "photo03.gif") as video:
      self.assertEqual(video.n_frames, 3)
    self.assertEqual(
      json.loads((self.out / "summary.json").read_text()), summary
    )
    self.assertGreater(summary["cosine"], 0.99)
    self.assertLen(self.lines, 2)  # no warning
    row = summary["starts"]["photo03"]
    self.assertCountEqual(row, ["id_sim", "bright", "reach"])
    self.assertEqual(len(row["id_sim"]), 3)
    self.assertBetween(0.0, *row["reach"])
    self.assertAlmostEqual(
      summary["mean"]["bright"][2],
      np.mean([start["bright"][2] for start in summary["starts"].values()]),
    )
    with np.load(self.out / "edits.npz") as kept:
      self.assertEqual(kept["ws"].shape, (2, 3) + one.anchors.ws.shape[1:])
      self.assertEqual(kept["alpha"].shape, (2, 3, COUNT))
      np.testing.assert_allclose(kept["ws"][1, 1], one.anchors.ws[3], atol=1e-5)
      moved = kept["ws"][0, 2, 0] - kept["ws"][0, 1, 0]
      np.testing.assert_allclose(moved, 0.25 * smile.vector, atol=1e-3)
      image = render.synthesize(
        one.generator, kept["ws"][0, 2:], kept["c"][0, 2:]
      ).image
      self.assertAlmostEqual(
        float(brightness(image)[0]),
        summary["starts"]["photo00"]["bright"][2],
        places=5,
      )
      self.assertFalse(np.array_equal(kept["c"][0, 0], kept["c"][0, 2]))
    found = directions.load(
      self.out / "a_smile_x.npy", w_dim=W, num_ws=one.anchors.ws.shape[1]
    )
    np.testing.assert_allclose(found.vector, smile.vector, atol=1e-6)

  def test_warns_of_what_the_anchors_cannot_follow(self):
    one = tiny_person(3)
    config = dataclasses.replace(CONFIG, apply="alpha")
    summary = edit.write_edits(
      one,
      [],
      Direction("age", unit(1), spread=1.0),
      config,
      self.out,
      log=self.lines.append,
    )
    self.assertLess(summary["cosine"], 0.9)
    self.assertRegex(
      self.lines[0],
      r"warning: age: .*3 anchors.*cosine 0\..*--apply=w follows all",
    )
    self.assertCountEqual(os.listdir(self.out), ["age.npy", "summary.json"])
    self.assertNotIn(
      "cosine",
      edit.write_edits(
        one,
        [],
        Direction("age", unit(1), spread=1.0),
        dataclasses.replace(config, apply="w"),
        self.out,
      ),
    )

  @parameterized.parameters(*latents.EDGES)
  def test_warns_where_the_hull_ends_an_edit(self, edge):
    one = tiny_person(COUNT)
    config = dataclasses.replace(CONFIG, edge=edge)
    edit.write_edits(
      one,
      self.starts()[:1],
      Direction("x", unit(1, -1), spread=1.0),
      config,
      self.out,
      log=self.lines.append,
    )
    said = [line for line in self.lines if "--edge=continue passes it" in line]
    self.assertLen(said, edge != "continue")
    for line in said:
      self.assertRegex(line, rf"warning: .*--edge={edge} .* short of -1 and 1")

  def test_stops_before_anything_is_half_written(self):
    class Stop(StopRequest):
      """A signal that came at once."""

      def __init__(self):
        super().__init__()
        self.signal = signal.SIGTERM

    with mock.patch("my3dgen_jax.jobs.interrupts.StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "starts again"):
        edit.write_edits(
          tiny_person(COUNT),
          self.starts(),
          Direction("x", unit(1), spread=1.0),
          CONFIG,
          self.out,
          log=self.lines.append,
        )
    self.assertEqual(os.listdir(self.out), ["x.npy"])

  def test_spread_is_measured_where_it_is_not_known(self):
    one = tiny_person(COUNT)
    rows = np.zeros((one.anchors.ws.shape[1], W), np.float32)
    rows[:] = unit(1, 2) / np.sqrt(len(rows))
    plain, layered = (
      finding.with_spread(one, Direction("x", vector), CONFIG)
      for vector in (unit(1, 2), rows)
    )
    w = samples.sample_latents(jax.random.key(0), one.generator, CONFIG.samples)
    np.testing.assert_allclose(plain.spread, np.std(w @ unit(1, 2)), rtol=1e-4)
    # As many deviations lead as far, however the file is written.
    np.testing.assert_allclose(
      plain.spread * plain.vector, layered.spread * layered.vector[0], rtol=1e-4
    )

  @parameterized.parameters(
    ({"edge": "x"}, "edge: .*stop"),
    ({"unit": "x"}, "unit: "),
    ({"apply": "x"}, "apply: "),
    ({"samples": 0}, "samples: "),
    ({"strengths": ()}, "strengths: "),
    ({"beta": 2.0}, "beta: "),
    ({"strengths": (float("nan"),)}, "strengths: "),
    ({"share": 0.0}, "share: "),
    ({"turn": 9.0}, "yaw: "),
    ({"video": ".avi"}, "video: "),
  )
  def test_settings(self, changes, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      dataclasses.replace(CONFIG, **changes).validate()


class CommandTest(Case):
  @parameterized.parameters(
    ([], 2, "one of --direction, --labels and --demo_attribute"),
    (["--labels=a.csv"], 2, "--samples"),
    (["--direction=a.npy", "--samples=s"], 2, "--samples"),
    (["--labels=a.csv", "--samples=s", "--without=age"], 2, "--without: age"),
    (["--direction=a.npy", "--strengths=1,x"], 2, "--strengths: "),
    (["--direction=a.npy", "--beta=2"], 1, "beta: "),
    (
      ["--direction=a.npy", "--out=o"],
      2,
      "--run, or --checkpoint for a bare base",
    ),
  )
  def test_bad_flags_are_one_line(self, flags, code, text):
    result = commands.run("edit", *flags, cwd=self.folder)
    self.assertEqual(result.returncode, code, result.stderr)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(os.listdir(self.folder), [])

  def run_command(self, *flags):
    result = commands.run(
      "edit", "--checkpoint=base", "--count=60", *flags, cwd=self.folder
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    return result.stdout

  def test_a_direction_of_labelled_samples(self):
    """Written, labelled but for some, and found."""
    save_generator(
      self.folder / "base", person.MODEL, person.make(1).base.variables
    )
    self.run_command("--write_samples=samples")
    w, names = samples.read_samples(self.folder / "samples", w_dim=W)
    scores = w @ unit(1, 2, 3)
    (self.folder / "smile.csv").write_text(
      "name,smile\n"
      + "".join(
        f"{name},{int(score > np.median(scores))}\n"
        for name, score in list(zip(names, scores))[:50]
      )
    )
    said = self.run_command(
      "--samples=samples", "--labels=smile.csv", "--out=out"
    )
    self.assertIn("smile: 50 of 60 samples have a label", said)
    self.assertIn("on the right side", said)
    self.assertTrue(list((self.folder / "out").glob("*.npy")))


if __name__ == "__main__":
  absltest.main()
