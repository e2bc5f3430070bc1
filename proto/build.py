"""Writes `serve/descriptors.binpb`: every message and service of `proto/`, serialized.

The server makes its message classes from that one file, so no generated Python is kept and any
protobuf runtime from 6.30 below 8 will do. Run `python proto/build.py` after each change here;
`--check` only compares and exits with 1 where the stored file is not what the sources say.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from grpc_tools import protoc

SOURCES = Path(__file__).resolve().parent
TARGET = SOURCES.parent / "serve" / "descriptors.binpb"


def build() -> bytes:
    """Return the serialized FileDescriptorSet of all sources, the same bytes at every call.

    Raises RuntimeError where the compiler refuses a source (it has printed the line by then).
    """
    names = sorted(path.name for path in SOURCES.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors.binpb"
        arguments = ["protoc", f"--proto_path={SOURCES}", f"--descriptor_set_out={target}"]
        if protoc.main([*arguments, "--include_imports", *names]) != 0:
            raise RuntimeError(f"protoc refused one of {', '.join(names)}")
        return target.read_bytes()


def main(arguments: Sequence[str]) -> int:
    """Write the file, or compare it when `--check` is given; 0 means it is as it should be."""
    built = build()
    if "--check" in arguments:
        same = TARGET.is_file() and TARGET.read_bytes() == built
        print(f"{TARGET.name} is {'up to date' if same else 'stale: run python proto/build.py'}")
        return 0 if same else 1
    TARGET.write_bytes(built)
    print(f"wrote {len(built)} bytes to {TARGET.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
