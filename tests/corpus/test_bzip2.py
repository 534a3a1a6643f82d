from __future__ import annotations

import bz2
import io
import random

from hypothesis import given
from hypothesis import strategies as st

from forja.corpus.sources.bzip2 import Bz2Pieces, unpack_block
from forja.corpus.sources.pieces import stream_of

NOISE = random.Random(5)
PARTS = [f"part {number} ".encode() * 40 + NOISE.randbytes(3000) for number in range(6)]
STREAMS = [bz2.compress(part) for part in PARTS]
# One stream of several blocks: level 1 has blocks of 100,000 bytes.
LONG = NOISE.randbytes(450_000)
ONE_STREAM = bz2.compress(LONG, 1)


def unpack(packed: bytes) -> tuple[bytes, str | None]:
    """What can be read, and what the error at the end says."""
    file = io.BytesIO(packed)
    stream = stream_of(iter(Bz2Pieces(file)), file)
    said = None
    pieces = []
    try:
        while piece := stream.read1(1 << 16):
            pieces.append(piece)
    except EOFError as error:
        said = str(error)
    return b"".join(pieces), said


def test_whole_streams_are_unpacked_one_after_the_other() -> None:
    assert unpack(b"".join(STREAMS)) == (b"".join(PARTS), None)
    assert unpack(ONE_STREAM) == (LONG, None)
    assert unpack(b"") == (b"", None)
    assert unpack(STREAMS[0] + b"\0" * 700) == (PARTS[0], None)


def test_a_damaged_stream_costs_that_stream_alone() -> None:
    broken = bytearray(STREAMS[2])
    broken[len(broken) // 2] ^= 16
    data, said = unpack(b"".join([*STREAMS[:2], bytes(broken), *STREAMS[3:]]))
    assert data == b"".join(PARTS[:2]) + b"\0" + b"".join(PARTS[3:])
    assert said is not None
    assert "1 place" in said


def test_a_damaged_block_of_the_only_stream_costs_that_block_alone() -> None:
    broken = bytearray(ONE_STREAM)
    broken[len(broken) // 2] ^= 1
    data, said = unpack(bytes(broken))
    before, after = _halves(data)
    assert LONG.startswith(before)
    assert LONG.endswith(after)
    assert len(before) + len(after) >= len(LONG) - 101_000
    assert said is not None


def _halves(data: bytes) -> tuple[bytes, bytes]:
    """The data before and after the gap's mark, which noise may hold as well."""
    common = next(place for place in range(len(data)) if data[place] != LONG[place])
    assert data[common] == 0
    return data[:common], data[common + 1 :]


def test_a_cut_file_gives_its_whole_blocks_and_says_that_it_is_cut() -> None:
    data, said = unpack(ONE_STREAM[: len(ONE_STREAM) * 3 // 4])
    assert LONG.startswith(data[:-1])
    assert len(data) > len(LONG) // 2
    assert said is not None


def test_what_is_no_bzip2_gives_nothing_but_an_error() -> None:
    data, said = unpack(b"plain text, and enough of it to be no header at all")
    assert data.strip(b"\0") == b""
    assert said is not None


def test_a_bomb_is_unpacked_piece_by_piece() -> None:
    sizes = [len(piece) for piece in Bz2Pieces(io.BytesIO(bz2.compress(bytes(200_000_000))))]
    assert sum(sizes) == 200_000_000
    assert max(sizes) < 64 << 20


@given(st.data())
def test_mutated_bytes_cost_at_most_the_streams_they_are_in(data: st.DataObject) -> None:
    packed = bytearray(b"".join(STREAMS))
    touched = set()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place] ^= 1 << data.draw(st.integers(0, 7))
        touched.add(place)
    unpacked, _ = unpack(bytes(packed))
    begin = 0
    for part, stream in zip(PARTS, STREAMS, strict=True):
        end = begin + len(stream)
        # The end mark of the stream before and this one's header are found by their neighbours.
        if not any(begin - 16 <= place < end + 16 for place in touched):
            assert part in unpacked
        begin = end


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 200))
def test_bytes_put_in_or_taken_out_never_raise_but_eof(junk: bytes, place: int, gone: int) -> None:
    packed = STREAMS[0] + STREAMS[1]
    unpack(packed[:place] + junk + packed[place + gone :])


def test_a_block_too_short_to_be_one_is_broken() -> None:
    assert unpack_block(b"\x31\x41\x59\x26\x53\x59" + b"\0" * 3, 0, 72) is None
