"""The little that is asked of an ELF file: is it one, and what is its build-id."""

import struct

NOTE = 4  # PT_NOTE
SHT_NOTE = 7


def build_id(path):
    """The build-id in hex; None if this is no little-endian ELF file of 64 or 32 bits with one."""
    with open(path, "rb") as file:
        ident = file.read(16)
        if len(ident) < 16 or ident[:4] != b"\x7fELF" or ident[5] != 1 or ident[4] not in (1, 2):
            return None
        wide = ident[4] == 2
        file.seek(0)
        header = file.read(64 if wide else 52)
        if len(header) < (64 if wide else 52):
            return None
        _, _, _, _, _, sections, _, _, _, _, size, count, _ = struct.unpack_from("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", header, 16)
        file.seek(sections)
        table = file.read(size * count)
        for number in range(len(table) // size if size else 0):
            shape = "<IIQQQQ" if wide else "<IIIIII"
            _, kind, _, _, offset, length = struct.unpack_from(shape, table, number * size)
            if kind == SHT_NOTE and length <= 65536:
                file.seek(offset)
                found = _gnu_build_id(file.read(length))
                if found:
                    return found
    return None


def is_elf(path):
    """Whether the file begins like an ELF file."""
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def _gnu_build_id(notes):
    position = 0
    while position + 12 <= len(notes):
        name, length, kind = struct.unpack_from("<III", notes, position)
        owner = notes[position + 12 : position + 12 + name]
        start = position + 12 + (name + 3) // 4 * 4
        if kind == 3 and owner == b"GNU\0" and 16 <= length <= 64:
            return notes[start : start + length].hex()
        position = start + (length + 3) // 4 * 4
    return None
