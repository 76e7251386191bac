//! Addresses of places, without secrets.

use http_client::{below, without_secrets};
use sql::{Location, Store};
use url::Url;

/// The URL of an archive without user, password and query. `None` if its store cannot be downloaded from.
pub(crate) fn link(location: &Location) -> Option<String> {
    let url = below(location.store.base_url.as_deref()?, &location.path)?;
    Some(without_secrets(&url).into())
}

/// The URL of an archive without secrets, else its path on this machine.
pub(crate) fn address(location: &Location) -> String {
    link(location).unwrap_or_else(|| match &location.store.root {
        Some(root) => root.join(&location.path).display().to_string(),
        None => location.path.clone(),
    })
}

/// A URL of the operator without secrets, and without the slash that is all of its path. What is no URL is left out.
pub(crate) fn public_url(url: &str) -> Option<String> {
    let url = without_secrets(&Url::parse(url).ok()?);
    Some(if url.path() == "/" { url.as_str().trim_end_matches('/').to_owned() } else { url.into() })
}

/// The address of a store without secrets: its URL, else its directory.
pub(crate) fn store_address(store: &Store) -> String {
    let root = || store.root.as_ref().map(|root| root.display().to_string());
    store.base_url.as_deref().and_then(public_url).or_else(root).unwrap_or_else(|| "-".to_owned())
}

/// A text with its http URLs without secrets.
pub(crate) fn without_url_secrets(text: &str) -> String {
    let word = |word: &str| {
        let Some(start) = word.find("http://").or_else(|| word.find("https://")) else { return word.to_owned() };
        let (before, rest) = word.split_at(start);
        let (url, after) = rest.split_at(rest.trim_end_matches([',', ';', ':', '.', ')', '"', '\'']).len());
        match public_url(url) {
            Some(shown) => format!("{before}{shown}{after}"),
            None => format!("{before}***{after}"),
        }
    };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_urls_in_a_text_are_left_out() {
        assert_eq!(
            without_url_secrets("(https://u:secret@h/a?token=secret): expected 200, found 404; http://h/x/y, a@b?c"),
            "(https://h/a): expected 200, found 404; http://h/x/y, a@b?c"
        );
    }
}
