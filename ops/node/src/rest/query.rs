//! Query parameters. A parameter that means nothing is refused: silently ignored, `?sit=x` would list every site.

use actix_web::HttpRequest;

use super::problem::Problem;
use super::segments::percent_decode;

/// The parameters of a request, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the request's parameters; only those `known` are allowed.
    pub(crate) fn read(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in request.query_string().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decode(&name.replace('+', " "))?, percent_decode(&value.replace('+', " "))?);
            if !known.contains(&name.as_str()) {
                let allowed = if known.is_empty() {
                    "it takes none".to_owned()
                } else {
                    format!("it takes {}", known.join(", "))
                };
                let detail = format!("this resource has no query parameter {name:?}; {allowed}");
                return Err(Problem::bad_request("unknown-parameter", detail));
            }
            if parameters.iter().any(|(before, _)| *before == name) {
                return Err(Problem::bad_request(
                    "repeated-parameter",
                    format!("query parameter {name:?} is given twice"),
                ));
            }
            // `?site=&limit=10`, as forms send it: not given.
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => {
                let detail = format!("query parameter {name:?} is true or false, not {text:?}");
                Err(Problem::bad_request("bad-flag", detail))
            }
        }
    }

    /// A parameter that is a number of `range`.
    pub(crate) fn number(&self, name: &str, range: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            _ => {
                let (first, last) = (range.start(), range.end());
                let detail = format!("query parameter {name:?} is a whole number from {first} to {last}, not {text:?}");
                Err(Problem::bad_request("bad-number", detail).with_limit(*last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn read(query: &str, known: &[&str]) -> Result<Query, Problem> {
        Query::read(&TestRequest::with_uri(&format!("/x?{query}")).to_http_request(), known)
    }

    #[test]
    fn parameters_are_decoded() {
        let query = read("site=a%2Eb&limit=10", &["site", "limit"]).unwrap();
        assert_eq!(query.get("site"), Some("a.b"));
        assert_eq!(query.number("limit", 1..=1000).unwrap(), Some(10));
        assert_eq!(query.number("cursor", 1..=1000).unwrap(), None);
        assert_eq!(read("site=&limit=", &["site", "limit"]).unwrap().get("site"), None);
    }

    #[test]
    fn a_flag_is_true_or_false() {
        let flag = |query: &str| read(query, &["cascade"]).unwrap().flag("cascade");
        assert_eq!((flag("").unwrap(), flag("cascade=true").unwrap()), (None, Some(true)));
        assert_eq!(flag("cascade=false").unwrap(), Some(false));
        assert!(flag("cascade=yes").is_err() && flag("cascade=1").is_err());
    }

    #[test]
    fn unknown_repeated_and_malformed_ones_are_refused() {
        assert!(read("sit=a", &["site"]).is_err());
        assert!(read("site=a&site=b", &["site"]).is_err());
        assert!(read("site=%zz", &["site"]).is_err());
        for bad in ["0", "1001", "+5", "-1", "1.0", "ten", "99999999999999999999"] {
            assert!(read(&format!("limit={bad}"), &["limit"]).unwrap().number("limit", 1..=1000).is_err(), "{bad}");
        }
    }
}
