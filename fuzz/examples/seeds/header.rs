//! Headers of RPMs.

/// Returns a header of 9 KiB whose paths would take 4 MiB.
pub(crate) fn many_files_in_a_long_directory() -> Vec<u8> {
    const FILES: usize = 1000;
    const STRING: u32 = 6;
    const STRINGS: u32 = 8;
    const NUMBERS: u32 = 4;
    let directory = format!("/{}/\0", "long".repeat(1000));
    let words = [(1000, b"n\0"), (1001, b"1\0"), (1002, b"1\0"), (1022, b"x\0")];
    let mut main = vec![(1116, NUMBERS, FILES, vec![0; 4 * FILES])];
    main.extend(words.map(|(tag, word)| (tag, STRING, 1, word.to_vec())));
    main.push((1117, STRINGS, FILES, b"a\0".repeat(FILES)));
    main.push((1118, STRINGS, 1, directory.into_bytes()));
    let mut lead = vec![0; 96];
    lead[..6].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3, 0]);
    let signature = tags(&[(1000, NUMBERS, 1, vec![0; 8])]);
    [lead, signature, tags(&main)].concat()
}

/// Returns a header with these entries: tag, type, count and data of each.
fn tags(entries: &[(u32, u32, usize, Vec<u8>)]) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).expect("a small number").to_be_bytes();
    let data: Vec<u8> = entries.iter().flat_map(|(.., data)| data.clone()).collect();
    let mut header = [&[0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0], &word(entries.len())[..], &word(data.len())].concat();
    let mut offset = 0;
    for (tag, kind, count, data) in entries {
        header.extend([tag.to_be_bytes(), kind.to_be_bytes(), word(offset), word(*count)].as_flattened());
        offset += data.len();
    }
    [header, data].concat()
}
