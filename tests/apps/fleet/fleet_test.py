"""Fleets whose workers do nothing: who is made, how often, and what is told."""

import contextlib
import csv
import io
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import uuid
from unittest import mock

import html5lib
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.fleet import collecting, fleet, states, table
from my3dgen_jax.apps.fleet.executor import Event, InProcess
from my3dgen_jax.apps.fleet.person import Person
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.worker import Outcome
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.config import TuningConfig
from my3dgen_jax.errors import Interrupted, UserError

SCORES = {
  "pretrained": {"lpips": 0.5, "psnr": 10.0},
  "personalized": {"lpips": 0.25, "psnr": 20.0, "id_sim": 0.5},
}
DONE = Outcome("done", seconds=2.0, scores=SCORES)


def person(name, **tuning):
  config = PersonalizeConfig(
    checkpoint="base",
    album=f"albums/{name}",
    out="-",
    tuning=TuningConfig(**tuning),
  )
  return Person(name, config)


class Script:
  """An executor whose outcomes are told: {id: [Outcome, or why it is lost]}."""

  def __init__(self, outcomes=None, workers=2):
    self.outcomes, self.workers = dict(outcomes or {}), workers
    self.begun, self.closed, self.asked = [], False, False
    self._events, self._with = [], {}

  def start(self, people):
    count = min(people, self.workers)
    self._events += [Event(i, place=f"host:{i}") for i in range(count)]
    return count

  def submit(self, worker, people):
    self._with.setdefault(worker, []).extend(one.id for one in people)

  def wait(self, seconds):
    del seconds
    if self._events:
      return [self._events.pop(0)]
    worker = min(
      self._with, key=lambda one: -len(self._with[one]), default=None
    )
    if worker is None or not self._with[worker]:
      return []
    name = self._with[worker].pop(0)
    self.begun.append(name)
    outcome = next(iter(self.outcomes.get(name, [])), DONE)
    self.outcomes[name] = self.outcomes.get(name, [])[1:]
    if isinstance(outcome, str):
      del self._with[worker]
      self._events.append(Event(worker, place=f"host:{worker}0"))
      return [Event(worker, lost=outcome)]
    return [Event(worker, name, outcome)]

  def stop(self):
    self.asked = True

  def close(self):
    self.closed = True


class FleetTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.out = self.enter_context(tempfile.TemporaryDirectory())
    self.collect = self.enter_context(
      mock.patch.object(collecting, "collect", return_value=[])
    )
    self.said = []

  def run_fleet(self, executor, people="abc", **config):
    people = [person(one) if isinstance(one, str) else one for one in people]
    found = fleet.run(
      fleet.FleetConfig("people.csv", self.out, **config),
      people,
      executor,
      log=self.said.append,
    )
    self.assertTrue(executor.closed)
    return {state.id: state for state in found}

  @parameterized.parameters("path", "file", "memory")
  def test_the_same_command_again_does_nothing(self, kind):
    self.out = {
      "path": self.out,
      "file": f"file://{self.out}",
      "memory": f"memory://{uuid.uuid4()}",
    }[kind]
    failed = Outcome("failed", "bad.png: is cut off", final=True)
    executor = Script({"b": [failed]})
    found = self.run_fleet(executor)
    self.assertCountEqual(executor.begun, "abc")
    self.assertEqual(
      [found[x].state for x in "abc"], ["done", "failed", "done"]
    )
    self.assertEqual(found["b"].reason, "bad.png: is cut off")
    self.assertIn("b: failed: bad.png: is cut off (3 of 3)", self.said)
    self.assertEqual(found["a"].scores, SCORES)
    again = Script()
    self.assertEqual(self.run_fleet(again), found)
    self.assertEmpty(again.begun)
    more = Script()
    self.run_fleet(more, people="abcd")
    self.assertEqual(more.begun, ["d"])

  def test_who_failed_is_made_once_something_has_changed(self):
    album = pathlib.Path(self.out) / "album"
    album.mkdir()
    config = person("a").config
    who = Person("a", PersonalizeConfig(config.checkpoint, str(album), "-"))
    failed = Outcome("failed", "no photos", final=True)
    self.run_fleet(Script({"a": [failed]}), people=[who])
    for change, count in (
      (lambda: None, 0),
      (lambda: (album / "photo.png").write_bytes(b"1"), 1),
    ):
      change()
      executor = Script({"a": [failed]})
      self.run_fleet(executor, people=[who])
      self.assertLen(executor.begun, count)
    executor = Script()
    self.run_fleet(executor, people=[who], retry_failed=True)
    self.assertLen(executor.begun, 1)
    executor = Script()
    self.run_fleet(executor, people=[person("a", steps=7)])
    self.assertLen(executor.begun, 1)  # other settings

  def test_workers_that_die_are_replaced_and_tries_have_an_end(self):
    crash = "it was killed, or it crashed"
    executor = Script({"a": [crash], "b": [crash, crash], "c": [crash] * 9})
    found = self.run_fleet(executor, people="abcd", retries=2, group=4)
    kinds = [found[one].state for one in "abcd"]
    self.assertEqual(kinds, ["done", "done", "failed", "done"])
    self.assertEqual([found[one].tries for one in "abcd"], [2, 3, 3, 1])
    self.assertEqual(found["c"].reason, f"its worker died: {crash}")
    self.assertFalse(found["c"].final)
    again = Script()
    self.run_fleet(again, people="abcd")
    self.assertEqual(again.begun, ["c"])  # a new command, new tries

  def test_what_may_be_chance_is_tried_again(self):
    full = Outcome("failed", "disk: No space left", seconds=1.0)
    found = self.run_fleet(Script({"a": [full], "b": [full] * 3}))
    self.assertEqual((found["a"].state, found["a"].tries), ("done", 2))
    self.assertEqual(found["a"].seconds, 3.0)
    self.assertEqual((found["b"].state, found["b"].tries), ("failed", 3))

  def test_a_signal_stops_with_states_saved(self):
    executor = Script(
      {"a": [Outcome("stopped", "stopped at step 2")]}, workers=1
    )
    submit = executor.submit
    executor.submit = lambda *people: (
      submit(*people),
      signal.raise_signal(signal.SIGTERM),
    )
    with self.assertRaisesRegex(Interrupted, "the same command resumes") as c:
      self.run_fleet(executor)
    self.assertEqual(c.exception.signal, signal.SIGTERM)
    self.assertTrue(executor.asked)
    self.assertTrue(executor.closed)
    left = states.States(Place(self.out)).load()
    self.assertEqual({state.state for state in left.values()}, {"waiting"})
    self.assertEqual(left["a"].reason, "stopped at step 2")
    self.run_fleet(Script())

  def test_who_ends_after_a_stop_is_noted(self):
    # Ray has the group's others already when the first says that it stops.
    stopped = Outcome("stopped", "stopped at step 2")
    bad = Outcome("failed", "bad.png: is cut off", final=True)

    class Stopping(Script):
      def __init__(self):
        super().__init__(workers=1)
        self._scripted = [("a", stopped), ("b", DONE), ("c", bad)]

      def wait(self, seconds):
        if self._events:
          return [self._events.pop(0)]
        found = [Event(0, *one) for one in self._scripted]
        self._scripted = []
        return found

    with self.assertRaises(Interrupted):
      self.run_fleet(Stopping(), people="abcdefgh", group=4)
    left = states.States(Place(self.out)).load()
    kinds = [left[one].state for one in "abcd"]
    self.assertEqual(kinds, ["waiting", "done", "failed", "waiting"])

  def test_whoever_a_broken_machine_had_is_made_by_idle_workers(self):
    class Broken(Script):
      def __init__(self):
        super().__init__(workers=2)

      def wait(self, seconds):
        if not self._events and self._with.get(0):  # the other is idle by then
          if self._with.get(1):
            return [Event(1, self._with[1].pop(0), DONE)]
          del self._with[0]
          return [Event(0, lost="no jax", replaced=False)]
        return super().wait(seconds)

    found = self.run_fleet(Broken(), people="ab", group=1)
    self.assertEqual({state.state for state in found.values()}, {"done"})
    self.assertIn(
      "worker 0 does not start (no jax); no further attempts", self.said
    )

  def test_a_bank_that_was_removed_is_filled_before_others_are_made(self):
    self.run_fleet(Script(), people="ab")
    self.collect.reset_mock()
    self.run_fleet(Script(), people="abc")
    _, first = self.collect.call_args_list[0].args
    self.assertEqual([state.id for state in first], ["a", "b", "c"])

  def test_tables_take_a_small_part_of_the_time(self):
    clock = iter(range(0, 10**6, 10))  # each look at it is ten seconds later
    with (
      mock.patch.object(fleet.time, "monotonic", lambda: next(clock)),
      mock.patch.object(table, "write") as write,
    ):
      self.run_fleet(Script(), people=[f"p{i:03}" for i in range(100)])
    self.assertLess(write.call_count, 25)

  @absltest.skipIf(sys.platform == "win32", "needs flock: not on Windows")
  def test_one_fleet_at_a_time(self):
    code = (
      "import fcntl, os, sys\n"
      "folder = os.open(sys.argv[1], os.O_RDONLY)\n"
      "fcntl.flock(folder, fcntl.LOCK_EX)\n"
      "print('held', flush=True)\n"
      "sys.stdin.read()"
    )
    with subprocess.Popen(
      [sys.executable, "-c", code, self.out],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
    ) as other:
      self.assertEqual(other.stdout.readline().strip(), b"held")
      executor = Script()
      with self.assertRaisesRegex(UserError, "another command is writing here"):
        self.run_fleet(executor)
      self.assertEmpty(executor.begun)
      other.stdin.close()
    self.run_fleet(Script())  # let in once the other has ended

  def test_status(self):
    with self.assertRaisesRegex(UserError, "has no people"):
      fleet.status(self.out)
    failed = Outcome("failed", "=1+1 <b>bad</b>.png", final=True)
    self.run_fleet(Script({"b": [failed]}))
    path = pathlib.Path(self.out) / "people/c.json"
    running = json.loads(path.read_text()) | {"state": "running"}
    path.write_text(json.dumps(running))
    found = fleet.status(self.out)
    kinds = [state.state for state in found]
    self.assertEqual(kinds, ["done", "failed", "waiting"])  # nobody is at it
    lines = table.as_text(found).splitlines()
    self.assertRegex(
      lines[1], r"^a +done +1 +2 +0\.5000 → 0\.2500 +10\.00 → 20"
    )
    self.assertRegex(lines[2], r"^b +failed .*=1\+1 <b>bad</b>\.png$")
    self.assertEqual(
      lines[4], "3 people: 1 waiting, 0 running, 1 done, 1 failed"
    )
    text = (pathlib.Path(self.out) / table.CSV_FILE).read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    self.assertEqual(rows[0]["personalized_lpips"], "0.25")
    self.assertEqual(rows[1]["reason"], "'=1+1 <b>bad</b>.png")  # no formula
    page = (pathlib.Path(self.out) / table.HTML_FILE).read_text()
    html5lib.HTMLParser(strict=True).parse(page)
    self.assertIn("&lt;b&gt;bad&lt;/b&gt;", page)
    self.assertIn("logs/b.log", page)
    path.write_text("{")
    with self.assertRaisesRegex(
      UserError, r"c\.json: is not valid JSON.*; remove it"
    ):
      fleet.status(self.out)

  def test_in_this_process(self):
    worker = mock.Mock()
    worker.describe.return_value = "host:1"
    worker.run.side_effect = lambda one: DONE
    with contextlib.closing(InProcess(lambda: worker)) as executor:
      executor.closed = True
      found = self.run_fleet(executor)
    self.assertEqual({state.state for state in found.values()}, {"done"})
    worker.close.assert_called()


if __name__ == "__main__":
  absltest.main()
