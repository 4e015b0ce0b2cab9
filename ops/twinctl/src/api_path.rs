//! Paths below `/api/v1`, built from names that may hold any character.

use crate::failure::Failure;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A path and query below `/api/v1`.
///
/// **Invariant:** a name is one segment, whatever it holds. The server decodes a segment exactly once, so everything
/// but the unreserved characters of RFC 3986 is encoded exactly once here: `50%` goes out as `50%25`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiPath {
    text: String,
    has_query: bool,
}

impl ApiPath {
    /// Starts with a collection, e.g. `twins`.
    pub(crate) fn new(collection: &str) -> Self {
        Self { text: format!("/api/v1/{collection}"), has_query: false }
    }

    /// One of the paths beside the API, e.g. `healthz`.
    pub(crate) fn root(name: &str) -> Self {
        Self { text: format!("/{name}"), has_query: false }
    }

    /// Adds a name as one segment. `.` and `..` are refused: on the way they would be taken for folders, encoded or not.
    pub(crate) fn segment(mut self, name: &str) -> Result<Self, Failure> {
        if matches!(name, "" | "." | "..") {
            return Err(Failure::Usage(format!("{name:?} is not a name: it can't be part of a URL's path")));
        }
        self.text.push('/');
        encode_into(name, &mut self.text);
        Ok(self)
    }

    /// Adds a place within a twin: `desired`, or `desired/price/amount`. The tokens are those of a JSON pointer
    /// (`~1` is a slash within a key).
    pub(crate) fn place(self, place: &str) -> Result<Self, Failure> {
        place.trim_start_matches('/').split('/').try_fold(self, Self::segment)
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        encode_into(key, &mut self.text);
        self.text.push('=');
        encode_into(value, &mut self.text);
        self
    }

    /// As it goes into the request line.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

fn encode_into(name: &str, text: &mut String) {
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 0xF)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(id: &str) -> String {
        ApiPath::new("twins").segment(id).unwrap().as_str().to_owned()
    }

    #[test]
    fn every_character_of_a_twin_id_stays_within_one_segment() {
        assert_eq!(twin("a%20#?*b"), "/api/v1/twins/a%2520%23%3F%2Ab");
        assert_eq!(twin("!(),:=@$'+"), "/api/v1/twins/%21%28%29%2C%3A%3D%40%24%27%2B");
        assert_eq!(twin("A-z.0_9"), "/api/v1/twins/A-z.0_9");
    }

    #[test]
    fn names_that_a_server_could_not_allow_still_reach_it_as_one_segment() {
        assert_eq!(twin("a/b c"), "/api/v1/twins/a%2Fb%20c");
        assert_eq!(twin("ü"), "/api/v1/twins/%C3%BC");
    }

    #[test]
    fn folders_are_not_names() {
        for name in ["", ".", ".."] {
            let refusal = ApiPath::new("twins").segment(name).unwrap_err();
            assert_eq!(refusal.exit_code(), 2, "{name:?}");
        }
    }

    #[test]
    fn a_place_is_a_section_and_pointer_tokens() {
        let path = ApiPath::new("twins").segment("a").unwrap().place("desired/price~1old/50%").unwrap();
        assert_eq!(path.as_str(), "/api/v1/twins/a/desired/price~1old/50%25");
    }

    #[test]
    fn query_values_are_encoded() {
        let path = ApiPath::new("twins").query("site", "a&b").query("cursor", "x=+/");
        assert_eq!(path.as_str(), "/api/v1/twins?site=a%26b&cursor=x%3D%2B%2F");
    }
}
