"""Event files, read back by a decoder of the test's own."""

import os
import pathlib
import struct
import tempfile
from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import events
from my3dgen_jax.jobs.events import EventWriter

_PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3


def crc(data):
  """CRC32C by its definition: division of polynomials, bit by bit."""
  remainder = 0xFFFFFFFF
  for byte in data:
    for bit in range(8):
      remainder ^= byte >> bit & 1
      remainder = remainder >> 1 ^ (0x82F63B78 if remainder & 1 else 0)
  return remainder ^ 0xFFFFFFFF


def masked(data):
  value = crc(data)
  return ((value >> 15 | value << 17) + 0xA282EAD8) % 2**32


def records(data):
  """The records of a TFRecord file, their checksums checked."""
  while data:
    length, check = struct.unpack("<QI", data[:12])
    assert check == masked(data[:8])
    payload, rest = data[12 : 12 + length], data[12 + length :]
    assert struct.unpack("<I", rest[:4])[0] == masked(payload)
    yield payload
    data = rest[4:]


def message(data):
  """Field number to value, of a message in which none is repeated."""

  def varint():
    nonlocal data
    value, shift = 0, 0
    while True:
      byte, data = data[0], data[1:]
      value |= (byte & 127) << shift
      shift += 7
      if byte < 128:
        return value

  fields = {}
  while data:
    key = varint()
    assert key >> 3 not in fields
    if key & 7 == 0:
      fields[key >> 3] = varint()
      continue
    size = {1: 8, 5: 4}[key & 7] if key & 7 != 2 else varint()
    value, data = data[:size], data[size:]
    assert len(value) == size
    fields[key >> 3] = (
      value
      if key & 7 == 2
      else struct.unpack("<d" if size == 8 else "<f", value)[0]
    )
  return fields


def read(path):
  return [message(payload) for payload in records(path.read_bytes())]


def value_of(event):
  return message(message(event[5])[1])


class ChecksumTest(parameterized.TestCase):
  @parameterized.parameters(
    # RFC 3720, appendix B.4, and the usual check value.
    (b"123456789", 0xE3069283),
    (b"", 0),
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
  )
  def test_known(self, data, expected):
    self.assertEqual(crc(data), expected)

  def test_record(self):
    """Of an empty record all is known: the mask of zero, twice the length."""
    data = events.record(b"")
    self.assertEqual(data[:8], bytes(8))
    self.assertEqual(data[12:], struct.pack("<I", 0xA282EAD8))


class EventsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "runs" / "anna"

  def test_file(self):
    with EventWriter(self.folder, wall_time=1700000000.5) as writer:
      pass
    self.assertStartsWith(writer.path.name, "events.out.tfevents.1700000000.")
    self.assertEqual(os.listdir(self.folder), [writer.path.name])
    self.assertEqual(
      read(writer.path), [{1: 1700000000.5, 3: b"brain.Event:2"}]
    )

  @parameterized.parameters(
    (0.25, 0.25),
    (np.float64(-3), -3),
    (jnp.float32(2), 2),
    (np.array(7), 7),
    (float("inf"), np.inf),
    (1e300, np.inf),
    (float("nan"), np.nan),
  )
  def test_scalar(self, value, expected):
    with EventWriter(self.folder) as writer:
      writer.scalar("loss/lpips", value, 300, wall_time=5.0)
    _, event = read(writer.path)
    self.assertEqual((event[1], event[2]), (5, 300))
    fields = value_of(event)
    self.assertEqual(fields[1], b"loss/lpips")
    np.testing.assert_equal(fields[2], float(expected))

  @parameterized.parameters(0, 1, 127, 128, 2**31, 2**63 - 1, np.int32(5))
  def test_steps(self, step):
    with EventWriter(self.folder) as writer:
      writer.scalar("loss", 1, step)
    self.assertEqual(read(writer.path)[1].get(2, 0), step)

  def test_other_steps_are_refused(self):
    with EventWriter(self.folder) as writer:
      for step in (-1, 2**63, 1.5, "one"):
        with self.assertRaisesRegex(UserError, "^step: "):
          writer.scalar("loss", 1, step)
    self.assertLen(read(writer.path), 1)

  def test_image(self):
    with EventWriter(self.folder) as writer:
      writer.image("Übersicht", _PNG, 3, width=640, height=480)
    fields = value_of(read(writer.path)[1])
    self.assertEqual(fields[1].decode(), "Übersicht")
    self.assertEqual(message(fields[4]), {1: 480, 2: 640, 4: _PNG})

  def test_flush_and_close(self):
    writer = EventWriter(self.folder)
    self.assertLen(read(writer.path), 1)
    for step in range(3):
      writer.scalar("loss", step, step)
    writer.flush()
    self.assertLen(read(writer.path), 4)
    writer.scalar("loss", 3, 3)
    writer.close()
    writer.close()
    self.assertEqual(
      [event.get(2, 0 if 5 in event else None) for event in read(writer.path)],
      [None, 0, 1, 2, 3],
    )

  def test_another_writer_is_another_file(self):
    paths = []
    for step in range(3):
      with EventWriter(self.folder, wall_time=9) as writer:
        writer.scalar("loss", step, step)
      paths.append(writer.path)
    self.assertEqual(sorted(self.folder.iterdir()), paths)
    for step, path in enumerate(paths):
      self.assertEqual(read(path)[1].get(2, 0), step)

  def test_going_on_from_a_step(self):
    with EventWriter(self.folder, purge_step=40) as writer:
      pass
    event = read(writer.path)[1]
    self.assertEqual((event[2], message(event[7])), (40, {1: 1}))

  def test_full_disk_leaves_whole_records(self):
    writer = EventWriter(self.folder)
    whole = writer.path.read_bytes()
    file = writer._file  # pylint: disable=protected-access

    class Full:
      """Takes nine bytes, and no more."""

      def __init__(self):
        self.room = 9

      def write(self, data):
        if not self.room:
          raise OSError(28, "No space left on device")
        taken, self.room = min(self.room, len(data)), 0
        return file.write(data[:taken])

      def __getattr__(self, name):
        return getattr(file, name)

    with mock.patch.object(writer, "_file", Full()):
      writer.scalar("loss", 1, 1)
      with self.assertRaisesRegex(OSError, "No space left") as caught:
        writer.flush()
    self.assertEqual(caught.exception.filename, str(writer.path))
    self.assertEqual(writer.path.read_bytes(), whole)
    writer.close()  # there is room again
    self.assertEqual(
      [event.get(2, 0 if 5 in event else None) for event in read(writer.path)],
      [None, 1],
    )


if __name__ == "__main__":
  absltest.main()
