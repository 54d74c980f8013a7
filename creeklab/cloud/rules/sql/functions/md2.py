"""MD2 (RFC 1319), which Python's hashlib does not have."""

from __future__ import annotations

# A permutation of all bytes, made from the digits of pi.
_PERMUTATION = bytes.fromhex(
    "292e43c9a2d87c013d3654a1ecf0061362a705f3c0c7738c98932bd9bc4c82ca"
    "1e9b573cfdd4e01667426f188a17e512be4ec4d6da9ede49a0fbf58ebb2fee7a"
    "a968799115b2073f94c210890b225f21807f5d9a5a903227353ecce7bff79703"
    "ff1930b348a5b5d1d75e922aac56aac64fb838d296a47db676fc6be29c7404f1"
    "459d705964718720865bcf65e62da8021b6025adaeb0b9f61c46616934407e0f"
    "5547a323dd51af3ac35cf9cebac5ea262c530d6e85288409d3dfcdf441814d52"
    "6adc37c86cc1abfa24e17b080cbdb14a7888958be363e86de9cbd5fe3b001d39"
    "f2efb70e6658d0e4a67772f8eb754b0a314450b48fed1f1adb998d339f118314"
)
_BLOCK = 16


def md2(data: bytes) -> str:
    """Return the MD2 hash of bytes in lower-case hexadecimal."""
    missing = _BLOCK - len(data) % _BLOCK
    data += bytes([missing]) * missing
    checksum = bytearray(_BLOCK)
    last = 0
    for start in range(0, len(data), _BLOCK):
        for position in range(_BLOCK):
            checksum[position] ^= _PERMUTATION[data[start + position] ^ last]
            last = checksum[position]
    data += checksum
    state = bytearray(3 * _BLOCK)
    for start in range(0, len(data), _BLOCK):
        for position in range(_BLOCK):
            state[_BLOCK + position] = data[start + position]
            state[2 * _BLOCK + position] = data[start + position] ^ state[position]
        turn = 0
        for number in range(18):
            for position in range(3 * _BLOCK):
                state[position] ^= _PERMUTATION[turn]
                turn = state[position]
            turn = (turn + number) % 256
    return state[:_BLOCK].hex()
