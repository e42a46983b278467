# SPDX-License-Identifier: Apache-2.0
"""unpack.py ARCHIVE DIR INSIDE=OUTSIDE...: takes named files, no others, out of a zip or tar."""

import sys
import tarfile
import zipfile
from pathlib import Path


def reader(path):
    if zipfile.is_zipfile(path):
        return zipfile.ZipFile(path).read
    archive = tarfile.open(path)
    return lambda name: archive.extractfile(name).read()


def main(archive, directory, *pairs):
    read = reader(archive)
    for pair in pairs:
        inside, outside = pair.split("=")
        target = Path(directory, outside)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(read(inside))


main(*sys.argv[1:])
