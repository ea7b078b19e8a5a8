import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from pipeline.curation.images import ImageLimits, find_image, look_at
from pipeline.curation.records import Fault

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=1_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(folder / "sub" / "a.png")
    (tmp_path / "secret.png").write_bytes((folder / "sub" / "a.png").read_bytes())
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "in.png").symlink_to(folder / "sub" / "a.png")
    (folder / "up").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("name", ["sub/a.png", "./sub/../sub/a.png", "in.png"])
def test_image_under_the_root_is_found(root: Path, name: str):
    assert find_image(name, root=root) == root.resolve() / "sub" / "a.png"


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "out.png", "up/secret.png", "nowhere.png", "sub", "", "a\0b", "x" * 5000],
)
def test_no_name_leaves_the_root(root: Path, name: str):
    found = find_image(name, root=root)
    assert isinstance(found, Fault)
    assert found.code == "image_missing"


def test_absolute_path_leaves_the_root(root: Path):
    found = find_image(str(root.parent / "secret.png"), root=root)
    assert isinstance(found, Fault)


def test_pipe_is_no_image_and_is_never_opened(root: Path):
    os.mkfifo(root / "pipe.png")
    assert isinstance(find_image("pipe.png", root=root), Fault)


def test_good_image_has_a_hash_and_no_fault(root: Path):
    path = root / "sub" / "a.png"
    found, fault = look_at(path, limits=LIMITS)
    assert found is not None
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.num_bytes == path.stat().st_size
    assert fault is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"", "image_invalid", id="empty"),
        pytest.param(b"no image at all", "image_invalid", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "image_invalid", id="signature only"),
        pytest.param(b"\0" * 200_000, "too_large", id="many bytes"),
    ],
)
def test_bad_file_has_a_code(tmp_path: Path, data: bytes, code: str):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    _, fault = look_at(path, limits=LIMITS)
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize("size", [(100, 11), (10_000, 10_000), (30_000, 30_000)])
def test_many_pixels_are_too_large_whatever_pillow_thinks(tmp_path: Path, size: tuple[int, int]):
    path = tmp_path / "a.png"
    Image.new("1", size).save(path)
    limits = ImageLimits(max_bytes=10**9, max_pixels=1_000)
    _, fault = look_at(path, limits=limits)
    assert fault is not None
    assert fault.code == "too_large"


def test_format_that_no_service_decodes_is_invalid(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, format="BMP")
    _, fault = look_at(path, limits=LIMITS)
    assert fault is not None
    assert fault.code == "image_invalid"
