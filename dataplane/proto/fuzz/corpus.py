"""The committed corpus: a text file per target, each line an input in base64, shortest first.

corpus.py unpack TARGET DIRECTORY   writes each input into a file of its own, as libFuzzer wants them
corpus.py pack TARGET DIRECTORY     makes the text file of the inputs there, but for those longer than 2 KiB

An input that reaches nothing new is no use: reduce the directory with libFuzzer's -set_cover_merge=1 before packing it.
"""
import base64
import hashlib
import pathlib
import sys

INPUT_BYTES_MAX = 2 << 10
PACKED = pathlib.Path(__file__).parent / "corpus"


def unpack(target, directory):
    file = PACKED / target
    for line in file.read_text().split() if file.exists() else []:
        data = base64.b64decode(line)
        (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(target, directory):
    inputs = {file.read_bytes() for file in directory.iterdir()}
    kept = sorted((data for data in inputs if 0 < len(data) <= INPUT_BYTES_MAX), key=lambda data: (len(data), data))
    PACKED.mkdir(exist_ok=True)
    (PACKED / target).write_text("".join(base64.b64encode(data).decode() + "\n" for data in kept))
    print(f"{target}: {len(kept)} of {len(inputs)} inputs")


def main():
    what, target, directory = sys.argv[1:]
    {"unpack": unpack, "pack": pack}[what](target, pathlib.Path(directory))


main()
