from pathlib import Path

from benchmarks.driver_floor import pieces
from benchmarks.driver_world import WorldSize, write_world


def test_pieces_are_counted_per_record(tmp_path: Path):
    world = write_world(tmp_path, WorldSize(num_records=64, records_per_image=4))
    found = {piece.name: piece for piece in pieces(world)}
    assert all(piece.us > 0 for piece in found.values())
    assert found["JSON parsed"].times_a_record == 2
    assert found["image header"].times_a_record == 1 / 4
    assert found["message encoded"].times_a_record == 1 / 32
    row = found["image header"].row()
    assert row["us_a_record"] == found["image header"].us / 4
