"""The authors' published tables: their two layouts are read, and nothing that only looks like one."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from sencache.calibration.research_npz import load_research_npz
from sencache.calibration.table import TableError
from sencache.tests.toy_tables import Trap, refusal

NOT_WHOLE = "it is not a whole npz archive of plain arrays"
LATENT = (4, 1, 2, 2)  # 16 numbers: an L2 norm is four times its rms


def means(**changes):
    arrays = {
        "timesteps": np.array([1000.0, 500.0, 250.0]),
        "J_x_norm": np.array([0.5, 1.0, 2.0]),
        "J_t_norm": np.array([0.25, 1.0, 8.0]),
    }
    return arrays | changes


def samples(**changes):
    first = [[0.5, 0.25], [1.0, 1.0], [2.0, 8.0]]
    second = [[1.5, 0.75], [3.0, 1.0], [2.0, 0.0]]
    return {"timesteps": np.array([1000, 500, 250]), "raw_data": np.array([first, second])} | changes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "wan21.npz"


def saved(path, arrays):
    np.savez(path, **arrays)
    return path


def reason(path):
    return refusal(path, lambda path: load_research_npz(path, LATENT), "research table")


def test_means_become_one_sample_in_rms_units(path):
    table = load_research_npz(saved(path, means(sample_counts=np.array([8.0] * 3))), LATENT)
    assert table.timestep.tolist() == [1000.0, 500.0, 250.0]
    assert table.sigma.tolist() == [1.0, 0.5, 0.25]
    assert table.rows["latent_sensitivity"].tolist() == [[0.5, 1.0, 2.0]]
    assert table.rows["time_sensitivity"].tolist() == [[0.0625, 0.25, 2.0]]
    assert table.at(750.0).alignment == 1.0


def test_raw_data_keeps_its_samples(path):
    table = load_research_npz(saved(path, samples()), LATENT)
    assert table.rows["latent_sensitivity"].tolist() == [[0.5, 1.0, 2.0], [1.5, 3.0, 2.0]]
    assert table.rows["time_sensitivity"].tolist() == [[0.0625, 0.25, 2.0], [0.1875, 0.25, 0.0]]
    assert table.at(500.0).latent_sensitivity == 2.0


def test_the_published_latent_shape_gives_the_published_scale(path):
    table = load_research_npz(saved(path, means(J_t_norm=np.full(3, 1447.97790038))), (16, 21, 60, 104))
    assert table.rows["time_sensitivity"][0].tolist() == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("arrays", [means(), samples()], ids=["means", "raw_data"])
def test_ascending_timesteps_are_turned_round_with_their_values(path, arrays):
    expected = load_research_npz(saved(path, arrays), LATENT)
    turned = {name: array[:, ::-1] if array.ndim == 3 else array[::-1] for name, array in arrays.items()}
    assert turned["timesteps"].tolist() == [250.0, 500.0, 1000.0]
    assert load_research_npz(saved(path, turned), LATENT) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", ">f8", np.int64])
def test_any_kind_of_numbers_is_read(path, dtype):
    arrays = {name: (array * 4).astype(dtype) for name, array in means().items()}
    table = load_research_npz(saved(path, arrays), LATENT, multiplier=4000.0)
    assert table.sigma.tolist() == [1.0, 0.5, 0.25]
    assert table.rows["time_sensitivity"].tolist() == [[0.25, 1.0, 8.0]]


def test_a_compressed_archive_is_read_too(path):
    np.savez_compressed(path, **means())
    assert load_research_npz(path, LATENT).at(500.0).latent_sensitivity == 1.0


BAD_ARRAYS = {
    "no timesteps": ({"J_x_norm": np.ones(3), "J_t_norm": np.ones(3)}, "holds ['J_t_norm', 'J_x_norm'] and"),
    "only half of the means": ({"timesteps": np.ones(3), "J_x_norm": np.ones(3)}, "and neither ['J_t_norm',"),
    "nothing known": ({"weights": np.ones(3)}, "it holds [] and neither"),
    "text": (means(J_x_norm=np.array(["a", "b", "c"])), "its 'J_x_norm' is <U1, not numbers"),
    "booleans": (samples(raw_data=np.ones((2, 3, 2), bool)), "its 'raw_data' is bool, not numbers"),
    "complex numbers": (means(J_t_norm=np.ones(3, complex)), "its 'J_t_norm' is complex128, not numbers"),
    "means of other lengths": (means(J_x_norm=np.ones(4)), "J_t_norm [3], J_x_norm [4], timesteps [3]"),
    "means of samples": (means(J_x_norm=np.ones((2, 3)), J_t_norm=np.ones((2, 3))), "do not belong together"),
    "more timesteps": (samples(timesteps=np.arange(4)), "raw_data [2, 3, 2], timesteps [4]"),
    "raw data of one sample": (samples(raw_data=np.ones((3, 2))), "raw_data [3, 2], timesteps [3]"),
    "a third quantity": (samples(raw_data=np.ones((2, 3, 3))), "raw_data [2, 3, 3], timesteps [3]"),
    "timesteps on two axes": (samples(timesteps=np.ones((1, 3))), "timesteps [1, 3]"),
    "one bare timestep": (means(timesteps=np.array(1.0)), "timesteps []"),
    "no samples yet": (samples(raw_data=np.empty((0, 3, 2))), "it has 0 samples"),
    "not a number": (means(J_x_norm=np.array([1.0, np.nan, 1.0])), "'latent_sensitivity' has values"),
    "more than float32": (means(J_t_norm=np.array([1.0, 1e300, 1.0])), "'time_sensitivity' has values"),
    "negative": (means(J_t_norm=-np.ones(3)), "'time_sensitivity' leaves the range"),
    "the same timestep twice": (means(timesteps=np.ones(3)), "its timesteps do not descend"),
}


@pytest.mark.parametrize(("arrays", "expected"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_make_no_table_are_refused(path, arrays, expected):
    assert expected in reason(saved(path, arrays))


def test_a_latent_without_elements_and_a_zero_multiplier_are_refused(path):
    saved(path, means())
    with pytest.raises(TableError, match="the latent it was measured on can't have 0 elements"):
        load_research_npz(path, (16, 0, 60, 104))
    with pytest.raises(TableError, match="its 'sigma' has values that are not finite"):
        load_research_npz(path, LATENT, multiplier=0.0)


def test_pickled_arrays_are_refused_without_running_them(tmp_path, path):
    folder = tmp_path / "unpickled"
    saved(path, means(J_x_norm=np.array([Trap(folder)], dtype=object)))
    with np.load(path, allow_pickle=True) as data:
        assert data["J_x_norm"].shape == (1,)
    folder.rmdir()  # raises unless the pickle made it: the trap works
    assert reason(path) == NOT_WHOLE
    path.write_bytes(pickle.dumps(Trap(folder)))
    assert reason(path) == NOT_WHOLE
    assert not folder.exists()


def test_arrays_that_are_not_needed_are_not_even_unpacked(tmp_path, path):
    folder = tmp_path / "unpickled"
    saved(path, means(arguments=np.array([Trap(folder)], dtype=object)))
    assert load_research_npz(path, LATENT).num_samples == 1
    assert not folder.exists()


def archive(path, method, contents, declared=None):
    """Write a zip with one array entry, whose directory may declare another size than it unpacks to."""
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("timesteps.npy", contents)
    data = bytearray(path.read_bytes())
    if declared is not None:
        size = data.index(b"PK\1\2") + 24
        data[size : size + 4] = declared.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def test_an_archive_that_unpacks_to_too_much_is_refused(path):
    np.savez_compressed(path, **samples(raw_data=np.zeros((1500, 1000, 2))))
    assert path.stat().st_size < 1 << 20
    assert reason(path) == "it unpacks to more than 16 MiB"
    np.savez_compressed(path, **{f"other{index}": np.zeros(1 << 19) for index in range(5)})
    assert reason(path) == "it unpacks to more than 16 MiB"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("start", [b"", b"\x93NUMPY\x02\x00\xff\xff\xff\xff"], ids=["zeros", "long header"])
def test_an_archive_that_lies_about_its_size_is_not_unpacked_in_memory(path, method, start):
    archive(path, method, start + b"\0" * (32 << 20), declared=128)
    tracemalloc.start()
    try:
        assert reason(path) in (NOT_WHOLE, "it is compressed in a way that numpy does not use")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(10**15,), (2**62, 8), (-3,), (3, 0, 2**63), "x"])
@pytest.mark.parametrize("dtype", ["<f8", "|V0", "|O", ",,", "<f8" * 999])
def test_an_array_that_claims_more_than_it_holds_is_refused(path, shape, dtype):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    assert reason(archive(path, zipfile.ZIP_STORED, file.getvalue() + b"\0" * 24))


def test_files_that_are_no_whole_archive_are_refused(tmp_path, path):
    whole = saved(path, means()).read_bytes()
    for data in (b"", b"timesteps,J_x_norm\n", whole[:-1], whole[:100], b"PK\3\4" + bytes(100), b"\x93NUMPY"):
        path.write_bytes(data)
        assert reason(path) == NOT_WHOLE
    with open(path, "wb") as file:
        np.save(file, np.ones(3))
    assert reason(path) == NOT_WHOLE
    path.write_bytes(bytes((1 << 20) + 1))
    assert reason(path) == "it is larger than the 1 MiB that a table may have"
    assert reason(tmp_path) in (os.strerror(errno.EISDIR), os.strerror(errno.EACCES))
    assert reason(tmp_path / "gone.npz") == os.strerror(errno.ENOENT)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_archives_are_refused_or_hold_the_same(path, save):
    save(path, **samples())
    rng, whole, expected, refused = random.Random(7), path.read_bytes(), load_research_npz(path, LATENT), 0
    for _ in range(400):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            assert load_research_npz(path, LATENT) == expected
        except TableError:
            refused += 1
    assert 100 < refused < 400
