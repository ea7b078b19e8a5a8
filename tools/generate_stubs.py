"""Writes the gRPC stubs of `clients/wire/align2llava.proto` beside it; `--check` fails on drift."""

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

WIRE = Path(__file__).resolve().parent.parent / "clients" / "wire"
NAMES = ("align2llava_pb2.py", "align2llava_pb2.pyi", "align2llava_pb2_grpc.py")


def generated(folder: Path) -> dict[str, str]:
    """Returns the stubs by file name, made in `folder`."""
    arguments = [
        "protoc",
        f"-I{WIRE}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
        f"--grpc_python_out={folder}",
        str(WIRE / "align2llava.proto"),
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    stubs = {name: (folder / name).read_text() for name in NAMES}
    # protoc writes a top-level import; ours lives in a package.
    grpc_stub = stubs["align2llava_pb2_grpc.py"]
    stubs["align2llava_pb2_grpc.py"] = grpc_stub.replace(
        "import align2llava_pb2 as", "from align2llava.clients.wire import align2llava_pb2 as"
    )
    return stubs


def main() -> None:
    """Writes or checks the stubs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit 1 where a stub is out of date")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        stubs = generated(Path(folder))
    stale = [n for n in NAMES if not (WIRE / n).exists() or (WIRE / n).read_text() != stubs[n]]
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make proto`")
    for name in stale:
        (WIRE / name).write_text(stubs[name])
    print(f"{len(stale)} of {len(NAMES)} stubs written" if stale else "stubs are up to date")


if __name__ == "__main__":
    main()
