"""Write fuzz/corpus/TARGET/*: the seeds, made from the vectors of native/core/tests."""

import re
from pathlib import Path

HERE = Path(__file__).parent
VECTORS = HERE.parent / "native/core/tests/vectors"
CORPUS = HERE / "corpus"


def hexes(name: str) -> list[list[bytes]]:
    """Return the hexadecimal strings of each row of a vector file."""
    rows = re.split(r"^},?$|},\n\{", (VECTORS / f"{name}.h").read_text(), flags=re.M)
    return [[bytes.fromhex(h) for h in re.findall(r'"((?:[0-9a-f]{2})+)"', row)] for row in rows]


def stop_flags() -> list[bool]:
    """Tell which rows of circuit.h are StopMessages."""
    return [flag == "1" for flag in re.findall(r"^ ([01]),$", (VECTORS / "circuit.h").read_text(), flags=re.M)]


def line(text: str) -> bytes:
    """Return a line of multistream-select."""
    return bytes([len(text) + 1]) + text.encode() + b"\n"


def seeds() -> dict[str, list[bytes]]:
    """Return the seeds of every target."""
    circuit = [row[-1] for row in hexes("circuit") if row]
    vouchers = [row[-1] for row in hexes("voucher") if row]
    # 0: sealed by the target itself; what follows is the first voucher's payload.
    fields = bytes.fromhex("00") + vouchers[0][44:130]
    header = line("/multistream/1.0.0")
    autonat = [row for row in hexes("autonat") if row]
    return {
        "varint": [b"\x00", b"\x7f", b"\x80\x01", b"\xff" * 8 + b"\x7f", b"\xff" * 9 + b"\x01", b"\x80\x00"],
        "multistream": [header, header + line("/noise"), header + line("/yamux/1.0.0") + line("na"), b"\x80\x08"],
        "hop": [c for c, stop in zip(circuit, stop_flags(), strict=True) if not stop],
        "stop": [c for c, stop in zip(circuit, stop_flags(), strict=True) if stop],
        "voucher": [*vouchers, fields],
        "autonat": [bytes([row is autonat[-1]]) + row[0] for row in autonat],
        "identify": [row[0] for row in hexes("identify") if row],
        "payload": [form for row in hexes("payload") if row for form in row[2:]],
        "key": [
            len(pb).to_bytes(2, "big") + pb + signature for pb, _, signature in (r[-3:] for r in hexes("keys") if r)
        ],
        "multiaddr": [row[-1] for row in hexes("multiaddr") if row],
        "noise_read": [bytes([3 * engine + step]) + m for engine in (0, 1) for step, m in enumerate(handshake())],
    }


def handshake() -> list[bytes]:
    """Return the three messages of the first Noise vector."""
    *_, first, second, third, _hash, _sent, _received = hexes("noise")[0]
    return [first, second, third]


def main() -> None:
    """Replace the corpus."""
    for target, inputs in seeds().items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for i, data in enumerate(inputs):
            (folder / f"{i:02}").write_bytes(data)


main()
