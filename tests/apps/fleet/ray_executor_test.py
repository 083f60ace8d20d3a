"""What is asked of Ray, and what is made of its answers; Ray itself is not here.

`tests/robustness/fleet.py` and `tests/launch/fleet_test.py` use the real one.
"""

import importlib
import os
import types
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.fleet.executor import Event
from my3dgen_jax.apps.fleet.person import Hooks, Person
from my3dgen_jax.apps.fleet.ray_executor import RayExecutor
from my3dgen_jax.apps.fleet.worker import Outcome, Worker
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.errors import UserError

DONE = Outcome("done")


class RayError(Exception):
  pass


class RayTaskError(RayError):
  def __init__(self, cause):
    super().__init__()
    self.cause = cause


class OutOfMemoryError(RayError):
  pass


class Ray:
  """Calls are objects; what each gives is taken from `answers`."""

  def __init__(self, answers, **resources):
    self.exceptions = types.SimpleNamespace(
      RayError=RayError,
      RayTaskError=RayTaskError,
      OutOfMemoryError=OutOfMemoryError,
    )
    self._private = types.SimpleNamespace(worker=types.SimpleNamespace())
    self.answers, self.resources = list(answers), {"CPU": 8.0, **resources}
    self.started, self.killed = [], []
    self.init, self.shutdown = mock.Mock(), mock.Mock()

  def cluster_resources(self):
    return self.resources

  def remote(self, **options):
    def make(*arguments, **parts):
      self.started.append((options, arguments, parts))
      actor = mock.MagicMock()
      for name in ("describe", "run"):
        getattr(actor, name).remote = lambda *_: object()
      return actor

    return lambda kind: types.SimpleNamespace(remote=make, kind=kind)

  def wait(self, calls, num_returns, timeout):
    del num_returns, timeout
    return calls[:1], calls[1:]

  def get(self, call):
    del call
    answer = self.answers.pop(0)
    if isinstance(answer, Exception):
      raise answer
    return answer

  def kill(self, actor):
    self.killed.append(actor)

  def is_initialized(self):
    return True


class RayExecutorTest(parameterized.TestCase):
  def executor(self, ray, **options):
    self.enter_context(mock.patch.dict(os.environ, {"JAX_PLATFORMS": ""}))
    self.enter_context(
      mock.patch.object(importlib, "import_module", return_value=ray)
    )
    executor = RayExecutor("/people", Hooks(), **options)
    self.addCleanup(executor.close)
    return executor

  def test_ray_is_started_here_quietly_and_for_nobody_else(self):
    ray = Ray(["host:1"])
    executor = self.executor(ray)
    self.assertEqual(executor.start(1), 1)
    options = ray.init.call_args.kwargs
    self.assertFalse(options["include_dashboard"])
    self.assertFalse(options["log_to_driver"])
    self.assertEqual(options["address"], "local")  # not that of RAY_ADDRESS
    self.assertEqual(os.environ["RAY_USAGE_STATS_ENABLED"], "0")
    self.assertEqual(os.environ["RAY_AUTH_MODE"], "token")
    self.assertLen(os.environ["RAY_AUTH_TOKEN"], 64)
    ((options, arguments, _),) = ray.started
    self.assertEqual(arguments, ("/people", Hooks()))
    self.assertEqual((options["num_gpus"], options["max_restarts"]), (0, 0))
    self.assertTrue(os.path.isdir(ray.init.call_args.kwargs["_temp_dir"]))
    executor.close()
    self.assertFalse(os.path.isdir(ray.init.call_args.kwargs["_temp_dir"]))
    ray.shutdown.assert_called_once()

  def test_a_worker_for_each_gpu_of_a_cluster(self):
    ray = Ray([], GPU=3.0)
    executor = self.executor(ray, address="auto")
    self.assertEqual(executor.start(100), 3)
    self.assertEqual(ray.init.call_args.kwargs["address"], "auto")
    self.assertEqual([one[0]["num_gpus"] for one in ray.started], [1, 1, 1])
    self.assertIsNone(ray.started[0][2]["threads"])
    with self.assertRaisesRegex(UserError, "4 requested, but there are 3 GPUs"):
      self.executor(Ray([], GPU=3.0), workers=4).start(100)

  def test_who_dies_is_replaced(self):
    ray = Ray(["host:1", DONE, OutOfMemoryError(), "host:2"])
    executor = self.executor(ray, workers=1)
    executor.start(3)
    self.assertEqual(executor.wait(1), [Event(0, place="host:1")])
    config = PersonalizeConfig("base", "album", "-")
    executor.submit(0, [Person(name, config) for name in ("a", "b", "c")])
    self.assertEqual(executor.wait(1), [Event(0, "a", DONE)])
    (event,) = executor.wait(1)
    self.assertEqual(event.worker, 0)
    self.assertIn("its machine ran out of memory", event.lost)
    self.assertLen(ray.killed, 1)
    self.assertEqual(executor.wait(1), [Event(0, place="host:2")])
    self.assertLen(ray.started, 2)

  def test_workers_that_never_start(self):
    ray = Ray([RayTaskError(ImportError("no jax"))] * 9)
    executor = self.executor(ray, workers=1)
    executor.start(1)
    with self.assertRaisesRegex(UserError, "as they start: no jax"):
      for _ in range(9):
        executor.wait(1)

  def test_one_broken_machine_is_given_up(self):
    broken = RayTaskError(ImportError("no jax"))
    ray = Ray([broken, "host:1", broken, broken, broken])
    executor = self.executor(ray, workers=2)
    executor.start(2)
    events = [event for _ in range(5) for event in executor.wait(1)]
    self.assertIn(Event(1, place="host:1"), events)
    self.assertEqual(events[-1], Event(0, lost="no jax", replaced=False))
    self.assertEqual([event.replaced for event in events], [True] * 4 + [False])
    self.assertEqual(list(executor._actors), [1])

  def test_workers_may_remove_what_is_theirs(self):
    ray = Ray(["host:1"])
    executor = self.executor(ray, workers=1)
    executor.start(1)
    (actor,) = executor._actors.values()
    ray.kill = lambda one: actor.killed()
    ray.wait = lambda calls, num_returns, timeout: actor.waited(calls, timeout)
    executor.close()
    call = actor.close.options(concurrency_group="control").remote()
    self.assertEqual(
      [one for one in actor.mock_calls if one[0] in ("waited", "killed")],
      [mock.call.waited([call], 5.0), mock.call.killed()],
    )

  def test_no_cluster(self):
    ray = Ray([])
    ray.init.side_effect = ConnectionError("no\nsuch")
    with self.assertRaisesRegex(UserError, r"--address=auto: .*no such$"):
      self.executor(ray, address="auto").start(1)

  def test_actors_can_be_stopped_while_they_work(self):
    executor = self.executor(Ray(["host:1"]), workers=1)
    executor.start(1)
    executor.stop()
    (actor,) = executor._actors.values()
    actor.stop.options.assert_called_once_with(concurrency_group="control")
    self.assertTrue(callable(Worker.stop))


if __name__ == "__main__":
  absltest.main()
