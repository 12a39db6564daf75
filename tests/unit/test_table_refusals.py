"""Everything that a sensitivity table and its file must not be, each refused in one sentence."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import zipfile

import pytest
import safetensors.torch
import torch
from sencache.calibration.table import TableError, from_bytes, save, to_bytes
from sencache.tests.toy_tables import Trap, build, parts, refusal


def rows_of(samples, knots):
    return {name: torch.ones(samples, knots) for name in ("latent_sensitivity", "time_sensitivity")}


def knots_of(count):
    return {name: torch.linspace(1000.0, 1.0, count) for name in ("timestep", "sigma")}


def at(name, index, value):
    tensor = parts()[name]
    tensor[index] = value
    return {name: tensor}


BAD_TENSORS = {
    "half precision": ({"sigma": torch.ones(3).half()}, "its 'sigma' is torch.float16, not float32"),
    "double precision": ({"timestep": parts()["timestep"].double()}, "'timestep' is torch.float64"),
    "integers": ({"sigma": torch.ones(3, dtype=torch.int32)}, "'sigma' is torch.int32"),
    "fewer sigmas": ({"sigma": torch.ones(2)}, r"its 'sigma' has shape \[2\], not \[3\]"),
    "one sample less": ({"time_sensitivity": torch.ones(1, 3)}, r"shape \[1, 3\], not \[2, 3\]"),
    "more knots": ({"latent_sensitivity": torch.ones(2, 4)}, r"shape \[2, 4\], not \[2, 3\]"),
    "no samples' axis": ({"time_sensitivity": torch.ones(3)}, r"shape \[3\], not \[2, 3\]"),
    "single number": ({"latent_sensitivity": torch.tensor(1.0)}, "0 samples; 1 to 1000"),
    "timesteps on two axes": ({"timestep": torch.ones(1, 3)}, "'timestep' has 2 dimensions"),
    "one bare timestep": ({"timestep": torch.tensor(1.0)}, "'timestep' has 0 dimensions"),
    "no knots": (knots_of(0) | rows_of(1, 0), "0 timesteps; 1 to 1000"),
    "too many knots": (knots_of(1001) | rows_of(1, 1001), "1001 timesteps; 1 to 1000"),
    "no samples": (rows_of(0, 3), "0 samples; 1 to 1000"),
    "too many samples": (rows_of(1001, 3), "1001 samples; 1 to 1000"),
    "not a number": (at("latent_sensitivity", (1, 2), torch.nan), "'latent_sensitivity' has values that"),
    "infinite": (at("time_sensitivity", (0, 0), torch.inf), "'time_sensitivity' has values that are"),
    "a knot without a number": (at("timestep", 1, torch.nan), "'timestep' has values that are not finite"),
    "an infinite sigma": (at("sigma", 0, torch.inf), "'sigma' has values that are not finite"),
    "ascending": ({"timestep": parts()["timestep"].flip(0)}, "its timesteps do not descend"),
    "the same knot twice": (at("timestep", 1, 1000.0), "its timesteps do not descend"),
    "negative": (at("time_sensitivity", (0, 1), -0.5), "'time_sensitivity' leaves the range 0 to 1e"),
    "huge": (at("latent_sensitivity", (0, 1), 1.1e6), "'latent_sensitivity' leaves the range 0 to 1e"),
    "negative sigma": (at("sigma", 2, -0.1), "'sigma' leaves the range 0 to"),
    "no cosine": ({"alignment": torch.full((2, 3), 1.01)}, "'alignment' leaves the range -1 to 1"),
    "unknown entry": ({"weights": torch.ones(2, 3)}, "an unknown entry 'weights'"),
    "unknown entry with a line break": ({"a.\nb" * 99: torch.ones(2, 3)}, r"an unknown entry 'a\.\\nb"),
}
BAD_METADATA = {
    "a long value": ({"note": "x" * 4097}, "its metadata 'note' is too long"),
    "a long key": ({"k" * 65: "x"}, "its metadata 'k+' is too long"),
    "many entries": ({str(index): "x" for index in range(65)}, "65 metadata entries; 64 are allowed"),
}


def safetensors_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bad.safetensors"


@pytest.mark.parametrize(("changes", "reason"), BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_tensors_that_make_no_table_are_refused_in_memory_and_in_a_file(path, changes, reason):
    with pytest.raises(TableError, match=reason):
        build(parts() | changes)
    safetensors.torch.save_file(parts() | changes, path, {"format_version": "1"})
    assert re.search(reason, refusal(path))


@pytest.mark.parametrize(("metadata", "reason"), BAD_METADATA.values(), ids=BAD_METADATA.keys())
def test_too_much_metadata_is_refused_in_memory_and_in_a_file(path, metadata, reason):
    with pytest.raises(TableError, match=reason):
        build(parts(), metadata)
    safetensors.torch.save_file(parts(), path, metadata | {"format_version": "1"})
    assert re.search(reason, refusal(path))


@pytest.mark.parametrize("metadata", [{"steps": 50}, {1: "x"}, {"model": b"wan"}, {"model": "wan\udcff"}])
def test_metadata_that_is_not_text_is_refused(metadata):
    with pytest.raises(TableError, match="its metadata is not all text"):
        build(parts(), metadata)


@pytest.mark.parametrize("entry", [50, None, ["a"], {"a": "b"}])
def test_metadata_in_a_file_that_is_not_text_is_refused(path, entry):
    safetensors_file(path, {"__metadata__": {"format_version": "1", "steps": entry}})
    assert refusal(path) in ("its metadata is not all text", "it is not a safetensors file")


@pytest.mark.parametrize("name", ["timestep", "sigma", "latent_sensitivity", "time_sensitivity"])
def test_a_file_without_a_required_entry_is_refused(path, name):
    tensors = parts()
    del tensors[name]
    safetensors.torch.save_file(tensors, path, {"format_version": "1"})
    assert refusal(path) == f"it has no '{name}'"


def test_a_table_in_memory_without_a_sensitivity_is_refused():
    tensors = parts()
    del tensors["time_sensitivity"]
    with pytest.raises(TableError, match="it has no 'time_sensitivity'"):
        build(tensors)


def test_a_newer_format_says_to_update_even_where_nothing_else_is_known(path):
    metadata = {"format_version": "2", "new": "x" * 9999}
    safetensors.torch.save_file({"anything": torch.ones(1).half()}, path, metadata)
    assert refusal(path) == "its format is version '2' and this pack reads version 1: update the pack"


def test_safetensors_files_of_other_programs_are_told_from_tables(path):
    safetensors.torch.save_file({"lora_up": torch.ones(4, 4)}, path)
    assert refusal(path) == "it is a safetensors file, but not a sensitivity table"
    safetensors.torch.save_file(parts(), path, {"ss_tag_frequency": "x" * 9999})
    assert refusal(path) == "it is a safetensors file, but not a sensitivity table"


def test_a_value_changed_in_the_file_does_not_match_the_checksum(path):
    save(build(parts()), path)
    data = path.read_bytes()
    eighth, quarter = (torch.tensor(value).numpy().tobytes() for value in (0.125, 0.25))
    path.write_bytes(data.replace(eighth, quarter))
    assert refusal(path) == "it is damaged: its contents do not match its checksum"
    path.write_bytes(data.replace(b"wan-a", b"wan-b"))
    assert refusal(path) == "it is damaged: its contents do not match its checksum"
    safetensors.torch.save_file(parts(), path, {"format_version": "1"})
    assert refusal(path) == "it is damaged: its contents do not match its checksum"


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\0" * 8, b"\xff" * 64, b"timestep,sigma\n1000,1\n", to_bytes(build(parts()))[:-1]]
    + [to_bytes(build(parts())) + b"\0", b"\x02" + b"\0" * 7 + b"[]", b"\x64" + b"\0" * 7 + b"[" * 100]
    + [b"\xa0\x86\x01" + b"\0" * 5 + b"[" * 100_000],
)
def test_bytes_that_are_no_safetensors_file_are_refused(path, data):
    path.write_bytes(data)
    assert refusal(path) == "it is not a safetensors file"


@pytest.mark.parametrize("shape", [[0, 2**63], [0, 2**62, 2**62], [2**40], [-1], [1.5], "3", [0] * 9999])
def test_a_header_with_impossible_shapes_is_refused(path, shape):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    safetensors_file(path, {"__metadata__": {"format_version": "1"}, "timestep": entry, "sigma": entry})
    assert refusal(path)


def test_a_file_larger_than_a_table_may_be_is_refused(path):
    path.write_bytes(to_bytes(build(parts())).ljust((1 << 20) + 1, b"\0"))
    assert refusal(path) == "it is larger than the 1 MiB that a table may have"
    with pytest.raises(TableError, match="it is larger than the 1 MiB"):
        from_bytes(path.read_bytes())


def test_what_cannot_be_read_at_all_is_named_too(tmp_path):
    assert refusal(tmp_path) in (os.strerror(errno.EISDIR), os.strerror(errno.EACCES))
    assert refusal(tmp_path / "gone.safetensors") == os.strerror(errno.ENOENT)
    assert refusal(tmp_path / "zero\0byte.safetensors") == "embedded null byte"


def test_a_zip_archive_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("timestep.npy", b"x" * 100)
    assert refusal(path) == "it is not a safetensors file"


def test_no_pickle_is_ever_loaded(tmp_path, path):
    folder = tmp_path / "unpickled"
    with open(path, "wb") as file:
        pickle.dump(Trap(folder), file)
    with open(path, "rb") as file:
        pickle.load(file)
    folder.rmdir()  # raises unless the pickle made it: the trap works
    assert refusal(path) == "it is not a safetensors file"
    torch.save({"timestep": Trap(folder)}, path)
    assert refusal(path) == "it is not a safetensors file"
    torch.save({"timestep": Trap(folder)}, path, _use_new_zipfile_serialization=False)
    assert refusal(path) == "it is not a safetensors file"
    assert not folder.exists()
