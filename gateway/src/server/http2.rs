//! Limits of one HTTP/2 connection. The HTTP service has no setting for them, so they are added to the first frame that
//! it writes. A client that exceeds them is disconnected ([`super::connection`]).

use actix_web::dev::ServiceRequest;
use actix_web::http::Version;

/// Announced maximum number of concurrent streams (RFC 9113, section 6.5.2: no fewer than 100). Each takes some 4 KB of
/// memory until the client has read its response.
const ANNOUNCED_STREAMS: u16 = 256;
/// Enforced maximum number of concurrent streams: one that the client has cancelled counts until its answer is ready.
pub(super) const MAX_STREAMS: usize = 2 * ANNOUNCED_STREAMS as usize;
/// Maximum size of a request's head, bytes: names, values and 32 for each field. On HTTP/1 the HTTP service has the
/// same limit.
const MAX_HEAD_BYTES: u32 = 128 << 10;

/// A frame begins with its length in three bytes, its type, its flags, and the number of its stream in four (RFC 9113,
/// section 4.1).
const FRAME_HEAD: usize = 9;
const SETTINGS: [u8; 6] = [4, 0, 0, 0, 0, 0];
const MAX_CONCURRENT_STREAMS: u16 = 3;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Returns the frame at the start of `written` with the limits behind its settings, and its former length. `None` if
/// the frame is not SETTINGS.
pub(super) fn with_limits(written: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (&[high, middle, low], rest) = written.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?;
    let settings = rest.strip_prefix(&SETTINGS)?.get(..length)?;
    let limits = [(MAX_CONCURRENT_STREAMS, u32::from(ANNOUNCED_STREAMS)), (MAX_HEADER_LIST_SIZE, MAX_HEAD_BYTES)];
    let limits = limits.map(|(name, value)| [name.to_be_bytes().as_slice(), &value.to_be_bytes()].concat()).concat();
    let longer = u32::try_from(length + limits.len()).ok()?;
    Some(([&longer.to_be_bytes()[1..], &SETTINGS, settings, &limits].concat(), FRAME_HEAD + length))
}

/// True if the head of an HTTP/2 request is larger than announced.
pub(crate) fn has_large_head(request: &ServiceRequest) -> bool {
    const FIELD: usize = 32;
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    request.version() == Version::HTTP_2 && fields.sum::<usize>() > MAX_HEAD_BYTES as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_added_to_the_settings_of_the_first_frame() {
        let limits = [0, 3, 0, 0, 1, 0, 0, 6, 0, 2, 0, 0];
        let (frame, length) = with_limits(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!((frame, length), ([&[0, 0, 12, 4, 0, 0, 0, 0, 0], limits.as_slice()].concat(), 9));
        let window = [0, 4, 0, 1, 0, 0];
        let (frame, length) =
            with_limits(&[[0, 0, 6, 4, 0, 0, 0, 0, 0].as_slice(), &window, &[1, 2, 3]].concat()).unwrap();
        assert_eq!((frame, length), ([[0, 0, 18, 4, 0, 0, 0, 0, 0].as_slice(), &window, &limits].concat(), 15));
        // An acknowledgement, another frame, one that is cut off.
        for other in
            [&[0, 0, 0, 4, 1, 0, 0, 0, 0][..], &[0, 0, 0, 6, 0, 0, 0, 0, 0], &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0], &[0, 0]]
        {
            assert_eq!(with_limits(other), None);
        }
    }
}
