"""Resolves `pyproject.toml` into the hash-pinned lock files of `requirements/`, with uv.

Checkov, which checks the manifests, and schemathesis, which probes the services, have environments of
their own and so locks of their own.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"
EXTRAS = {
    "driver": (),
    "cpu": ("services", "reward", "llm-cpu", "dev"),
    "gpu": ("services", "reward", "llm-gpu", "dev"),
    "vllm-vision": ("services", "reward", "vllm-vision"),
    "jobs": ("reward",),
}
ALONE = ("checkov", "schemathesis")  # resolved from requirements/NAME.in
UNIVERSAL = ("driver",)  # for every Python and system that may install it; others for one of each
# Those with the CPU build of torch; each leaves out what its overrides name.
OVERRIDES = {"cpu": "overrides-cpu.txt", "vllm-vision": "overrides-vllm-vision.txt"}


def torch_source() -> list[str]:
    """Returns where uv finds the CPU build of torch: PIP_FIND_LINKS, else PyTorch's own index."""
    folder = os.environ.get("PIP_FIND_LINKS")
    if folder:
        return ["--find-links", folder]
    return ["--extra-index-url", PYTORCH_CPU, "--index-strategy", "unsafe-best-match"]


def command(name: str) -> list[str]:
    """Returns the uv command that writes `requirements/NAME.lock`."""
    extras = [word for extra in EXTRAS.get(name, ()) for word in ("--extra", extra)]
    source = f"requirements/{name}.in" if name in ALONE else "pyproject.toml"
    cpu: list[str] = []
    if name in OVERRIDES:
        cpu = ["--overrides", str(REQUIREMENTS / OVERRIDES[name]), *torch_source()]
    platform = (
        ("--universal",) if name in UNIVERSAL else ("--python-platform", "x86_64-manylinux_2_28")
    )
    return [
        *(sys.executable, "-m", "uv", "pip", "compile", source, *extras, *cpu),
        *("--python-version", "3.11", *platform),
        *("--generate-hashes", "--no-emit-find-links", "--quiet", "--custom-compile-command"),
        *("make lock", "--output-file", f"requirements/{name}.lock"),
    ]


def main() -> None:
    """Writes all lock files."""
    for name in (*EXTRAS, *ALONE):
        subprocess.run(command(name), cwd=ROOT, check=True)
        print(f"requirements/{name}.lock")


if __name__ == "__main__":
    main()
