//! How requests identify themselves.

/// The User-Agent of `product` (like `darkserver/1.0`), with `contact`, a URL at which its operator can be reached, in
/// a comment: `darkserver/1.0 (+mailto:admin@example.org)`.
pub fn user_agent(product: &str, contact: Option<&str>) -> String {
    contact.map_or_else(|| product.to_owned(), |contact| format!("{product} (+{contact})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_stands_in_a_comment() {
        assert_eq!(user_agent("a/1", None), "a/1");
        assert_eq!(user_agent("a/1", Some("https://a.example/")), "a/1 (+https://a.example/)");
    }
}
