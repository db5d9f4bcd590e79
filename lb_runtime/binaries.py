"""What drivers made of programs, kept on disk: Intel's compiler takes 40 to 200 ms, its binary 1 ms.

An entry's name is a hash of all that the binary depends on; it begins with its own checksum and is put in
place by rename. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import pyopencl as cl

from predictor.frontend import cache_folder

MOST_ENTRIES = 512
"""The oldest ones beyond these are removed."""
_DIGEST_BYTES = 32


class Binary:
    """The place of one program's binary for one device."""

    def __init__(self, device: cl.Device, source: str, options: tuple[str, ...]) -> None:
        platform = device.platform
        facts = (
            platform.name,
            platform.version,
            device.name,
            device.version,
            device.driver_version,
            str(device.max_compute_units),
            *options,
            source,
        )
        text = "\0".join(facts).encode("utf-8", "surrogateescape")
        self.path = cache_folder() / "binaries" / f"{hashlib.sha256(text).hexdigest()}.bin"
        # The text may depend on files that it includes, which are not looked at here; PoCL keeps its own.
        is_whole = "#include" not in source or "// includes " in source
        self.is_kept = is_whole and "Portable Computing Language" not in platform.name

    def read(self) -> bytes | None:
        """The binary, or None where there is none or it is damaged."""
        if not self.is_kept:
            return None
        try:
            content = self.path.read_bytes()
        except OSError:
            return None
        digest, binary = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return binary if binary and hashlib.sha256(binary).digest() == digest else None

    def write(self, binary: bytes) -> None:
        """Keep a binary."""
        if not self.is_kept or not binary:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self.path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(binary).digest() + binary)
            Path(temporary).replace(self.path)
            _trim(self.path.parent)


def _trim(folder: Path) -> None:
    entries = list(folder.glob("*.bin"))
    if len(entries) > MOST_ENTRIES:
        entries.sort(key=lambda path: path.stat().st_mtime)
        for path in entries[: len(entries) - MOST_ENTRIES]:
            path.unlink(missing_ok=True)
