import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from align2llava.pipeline.curation.faults import Fault
from align2llava.pipeline.curation.input.images import ImageLimits, find_image, look_at

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
    assert find_image(name, root=root, link_roots=()) == root.resolve() / "sub" / "a.png"


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "out.png", "up/secret.png", "nowhere.png", "sub", "", "a\0b", "x" * 5000],
)
def test_no_name_leaves_the_root(root: Path, name: str):
    found = find_image(name, root=root, link_roots=())
    assert isinstance(found, Fault)
    assert found.code == "image_missing"


def test_absolute_path_leaves_the_root(root: Path):
    found = find_image(str(root.parent / "secret.png"), root=root, link_roots=[root.parent])
    assert isinstance(found, Fault)


@pytest.mark.parametrize("name", ["out.png", "up/secret.png"])
def test_link_leads_below_a_root_that_links_may_lead_to(root: Path, name: str):
    found = find_image(name, root=root, link_roots=[root.parent / "other", root.parent])
    assert found == root.parent.resolve() / "secret.png"


def test_link_that_leads_elsewhere_is_refused_as_a_link_and_the_setting_is_named(root: Path):
    found = find_image("up/secret.png", root=root, link_roots=[root / "sub"])
    assert isinstance(found, Fault)
    target = root.parent.resolve() / "secret.png"
    assert found.message == (
        f"image 'up/secret.png': a link leads out of images_root, to {target}; see input.link_roots"
    )


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png"])
def test_name_with_dots_leaves_no_root_wherever_links_may_lead(root: Path, name: str):
    found = find_image(name, root=root, link_roots=[root.parent])
    assert isinstance(found, Fault)
    assert found.message.endswith("lies outside of images_root")


def test_dots_behind_a_link_lead_no_further_than_its_root(root: Path, tmp_path: Path):
    (tmp_path / "data" / "coco").mkdir(parents=True)
    (root / "coco").symlink_to(tmp_path / "data" / "coco")
    (tmp_path / "data" / "a.png").write_bytes(b"")
    found = find_image("coco/../a.png", root=root, link_roots=[tmp_path / "data" / "coco"])
    assert isinstance(found, Fault)


def test_pipe_is_no_image_and_is_never_opened(root: Path):
    os.mkfifo(root / "pipe.png")
    assert isinstance(find_image("pipe.png", root=root, link_roots=()), Fault)


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


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_format_is_told_by_the_bytes_and_not_by_the_name(tmp_path: Path, image_format: str):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (4, 4)).save(path, format=image_format)
    assert look_at(path, limits=LIMITS)[1] is None


def test_format_that_no_service_decodes_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, format="TIFF")
    _, fault = look_at(path, limits=LIMITS)
    assert fault == (
        "image_invalid",
        "image a.png is a TIFF; PNG, JPEG, WebP, GIF and BMP are read",
    )
