"""Processes that meet; whole jobs are in `tests/launch/processes_test.py`."""

import socket
import threading
import time

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import FlagError, Interrupted, UserError
from my3dgen_jax.jobs import channel, processes, words
from tests.support import jobs


class AloneTest(absltest.TestCase):
  def test_nothing_is_waited_for(self):
    self.assertEqual((processes.count(), processes.index()), (1, 0))
    self.assertTrue(processes.is_first())
    made = {"a": np.arange(3)}
    self.assertIs(processes.from_first(lambda: made), made)
    self.assertEqual(processes.gather(made), [made])
    processes.ask_to_stop(15)
    self.assertIsNone(processes.asked_to_stop())
    processes.barrier()
    processes.finish()
    processes.abandon(1, "goes on")


class StartTest(parameterized.TestCase):
  def start(self, place, index, count=2, timeout=0.5):
    processes.start(place, count=count, index=index, timeout=timeout)

  @parameterized.parameters(
    "here", "here:", ":9", "here:0", "here:70000", "here:port", ""
  )
  def test_address(self, place):
    with self.assertRaisesRegex(FlagError, "HOST:PORT"):
      self.start(place, 0)

  @parameterized.parameters(-1, 2, 99)
  def test_number(self, index):
    with self.assertRaisesRegex(FlagError, r"--process_id: expected 0 … 1"):
      self.start("127.0.0.1:9", index)

  def test_nobody(self):
    place = f"127.0.0.1:{jobs.free_port()}"
    with self.assertRaisesRegex(FlagError, "process 1, 2 did not connect in"):
      self.start(place, 0, count=3)
    with self.assertRaisesRegex(UserError, "process 0 cannot be reached"):
      self.start(place, 1)
    with self.assertRaisesRegex(UserError, "cannot be reached"):
      self.start("nowhere.invalid:9", 1)

  def test_port_in_use(self):
    with socket.socket() as taken:
      taken.bind(("127.0.0.1", 0))
      taken.listen()
      with self.assertRaisesRegex(UserError, "in use; process 0 listens"):
        self.start("127.0.0.1:%d" % taken.getsockname()[1], 0)

  def test_another_service(self):
    with socket.socket() as other:
      other.bind(("127.0.0.1", 0))
      other.listen()
      threading.Thread(
        target=lambda: other.accept()[0].sendall(
          b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9
        )
      ).start()
      with self.assertRaisesRegex(UserError, "is not process 0"):
        self.start("127.0.0.1:%d" % other.getsockname()[1], 1)

  def test_strangers_are_not_let_in(self):
    port = jobs.free_port()

    def knock():
      time.sleep(0.1)
      with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" * 9)
        time.sleep(0.3)

    threading.Thread(target=knock).start()
    with self.assertRaisesRegex(FlagError, "process 1 did not connect"):
      self.start(f"127.0.0.1:{port}", 0, timeout=1.0)

  def test_counts_differ(self):
    pattern = "process 0 has 2, process 1 has 3"
    place = f"127.0.0.1:{jobs.free_port()}"
    said = []

    def join():
      try:
        self.start(place, 1, count=3, timeout=5.0)
      except FlagError as error:
        said.append(str(error))

    thread = threading.Thread(target=join)
    thread.start()
    with self.assertRaisesRegex(FlagError, pattern):
      self.start(place, 0, timeout=5.0)
    thread.join()
    self.assertRegex(said[0], pattern)


class TalkTest(absltest.TestCase):
  """Three jobs of one process talk; JAX knows nothing of it."""

  def setUp(self):
    super().setUp()
    port, deadline = jobs.free_port(), time.monotonic() + 10
    self.jobs = [processes._Job(i, 3) for i in range(3)]
    threads = [
      threading.Thread(target=job.join, args=("127.0.0.1", port, deadline))
      for job in self.jobs[1:]
    ]
    for thread in threads:
      thread.start()
    self.jobs[0].wait_for_others("127.0.0.1", port, deadline)
    for thread in threads:
      thread.join()
    for job in self.jobs:
      job.watch()
    self.addCleanup(self.hang_up)

  def hang_up(self):
    for job in self.jobs:
      job.ending = True
    for job in self.jobs:
      for connection in job._channels.values():
        connection.close()

  def test_data_and_requests(self):
    arrays = {"a": np.arange(5, dtype=np.float32), "names": np.array(["x"])}
    packed = channel.packed(arrays)
    self.jobs[0].tell_all(processes._DATA, packed)
    for job in self.jobs[1:]:
      found = channel.unpacked(job.receive(0))
      np.testing.assert_array_equal(found["a"], arrays["a"])
      self.assertEqual(found["names"].tolist(), ["x"])
    self.jobs[2].ask_to_stop(15)
    deadline = time.monotonic() + 5
    while self.jobs[1].asked is None and time.monotonic() < deadline:
      time.sleep(0.01)
    self.assertEqual([job.asked for job in self.jobs], [15, 15, 15])

  def test_whoever_waits_hears_of_an_end(self):
    said = words.said(1, 143, "stopped at step 3", 15)
    self.jobs[1].tell_all(processes._END, said)
    for job, peer in ((self.jobs[0], 2), (self.jobs[2], 0)):
      with self.assertRaisesRegex(Interrupted, "stopped at step 3"):
        job.receive(peer)


if __name__ == "__main__":
  absltest.main()
