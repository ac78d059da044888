//! The beginnings of Linux programs, by which the kernel tells for which machine they are.

/// What distinguishes the programs of an architecture.
struct Machine {
    /// 32 or 64 bits.
    wide: bool,
    big_endian: bool,
    number: u16,
}

/// Length of a 32-bit ELF header, and of one program header.
const HEADER_BYTES: u32 = 52;
const SEGMENT_BYTES: u32 = 32;
/// Where the tiny programs are loaded.
const ADDRESS: u32 = 0x0001_0000;

/// Those that are known here.
pub(super) const ARCHITECTURES: [&str; 20] = [
    "386", "amd64", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64",
];

/// Width, order of bytes and number of each of [`ARCHITECTURES`].
fn machine(architecture: &str) -> Option<Machine> {
    let of = |wide, big_endian, number| Some(Machine { wide, big_endian, number });
    match architecture {
        "386" => of(false, false, 3),
        "amd64" => of(true, false, 62),
        "arm" => of(false, false, 40),
        "armbe" => of(false, true, 40),
        "arm64" => of(true, false, 183),
        "arm64be" => of(true, true, 183),
        "loong64" => of(true, false, 258),
        "mips" => of(false, true, 8),
        "mipsle" => of(false, false, 8),
        "mips64" => of(true, true, 8),
        "mips64le" => of(true, false, 8),
        "ppc" => of(false, true, 20),
        "ppc64" => of(true, true, 21),
        "ppc64le" => of(true, false, 21),
        "riscv" => of(false, false, 243),
        "riscv64" => of(true, false, 243),
        "s390" => of(false, true, 22),
        "s390x" => of(true, true, 22),
        "sparc" => of(false, true, 2),
        "sparc64" => of(true, true, 43),
        _ => None,
    }
}

/// The header of a program for `architecture`, with no program behind it; none when nobody knows its number.
pub(super) fn header(architecture: &str) -> Option<Vec<u8>> {
    let Machine { wide, big_endian, number } = machine(architecture)?;
    let mut bytes = b"\x7fELF".to_vec();
    bytes.extend([1 + u8::from(wide), 1 + u8::from(big_endian), 1]);
    bytes.resize(16, 0);
    // An executable, for this machine, of version 1.
    for value in [2, number] {
        bytes.extend(if big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
    }
    bytes.extend(if big_endian { 1_u32.to_be_bytes() } else { 1_u32.to_le_bytes() });
    bytes.resize(if wide { 64 } else { 52 }, 0);
    Some(bytes)
}

/// A whole program that does nothing but end with 0, for those 32-bit machines that a 64-bit one may run.
pub(super) fn program(architecture: &str) -> Option<Vec<u8>> {
    let code: &[u8] = match architecture {
        // mov eax, 1; xor ebx, ebx; int 0x80
        "386" => &[0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80],
        // mov r7, #1; mov r0, #0; svc 0
        "arm" => &[0x01, 0x70, 0xa0, 0xe3, 0x00, 0x00, 0xa0, 0xe3, 0x00, 0x00, 0x00, 0xef],
        _ => return None,
    };
    let start = HEADER_BYTES + SEGMENT_BYTES;
    let length = start + u32::try_from(code.len()).ok()?;
    let mut bytes = header(architecture)?;
    bytes.truncate(24);
    // Entry, program headers, section headers, flags (of ARM: the fifth version of its calling convention).
    let flags = if architecture == "arm" { 0x0500_0000 } else { 0 };
    for value in [ADDRESS + start, HEADER_BYTES, 0, flags] {
        bytes.extend(value.to_le_bytes());
    }
    // Length of this header; length and number of program headers; the same of section headers, and their names.
    for value in [52_u16, 32, 1, 0, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    // One segment to load: the file from its beginning, to be read and executed, aligned.
    for value in [1, 0, ADDRESS, ADDRESS, length, length, 5, 0x1000] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(code);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_that_qemu_registers() {
        assert_eq!(header("arm64").unwrap()[..20], *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
        assert_eq!(header("s390x").unwrap()[..20], *b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16");
        assert_eq!(header("pdp11"), None);
        assert!(ARCHITECTURES.iter().all(|name| header(name).is_some()));
        assert_eq!(program("arm").unwrap().len(), 52 + 32 + 12);
    }
}
