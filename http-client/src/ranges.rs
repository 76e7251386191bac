//! Parts of files.

/// Reads a Content-Range (RFC 9110, section 14.4): first byte, last byte, size of the file unless it is `*`. `None` if
/// it states no part in bytes.
pub fn content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (unit, range) = value.trim().split_once(' ')?;
    let (part, size) = range.trim().split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let size = if size == "*" { None } else { Some(size.parse().ok()?) };
    let is_sound = unit.eq_ignore_ascii_case("bytes") && first <= last && size.is_none_or(|size| last < size);
    is_sound.then_some((first, last, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_states_a_part_and_the_size_of_the_whole() {
        for (value, expected) in [
            ("bytes 0-9/100", Some((0, 9, Some(100)))),
            ("Bytes 5-5/*", Some((5, 5, None))),
            ("bytes 5-4/100", None),
            ("bytes 0-100/100", None),
            ("bytes x-9/10", None),
            ("bytes 0-9/x", None),
            ("bytes 0-99", None),
            ("bytes */100", None),
            ("lines 0-9/100", None),
            ("", None),
        ] {
            assert_eq!(content_range(value), expected, "{value}");
        }
    }
}
