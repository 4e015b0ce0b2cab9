//! JSON bodies from the command line, a file or standard input.

use std::io::Read;
use std::path::Path;

use serde::de::IgnoredAny;

use crate::failure::Failure;
use crate::given::Given;
use crate::limits::INPUT_BYTES_MAX;

/// Takes `JSON`, `-` (standard input) or `@FILE`, and gives the JSON text unchanged.
pub(crate) fn read(argument: &str) -> Result<String, Failure> {
    let text = match (argument, argument.strip_prefix('@')) {
        ("-", _) => read_given("-")?,
        (_, Some(path)) => read_given(path)?,
        _ => argument.to_owned(),
    };
    // Sent as it was typed: reading and writing it again would reorder members and respell numbers.
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Usage(format!("the body is not JSON: {error}"))),
    }
}

/// Reads a file, a pipe, or standard input (`-`).
pub(super) fn read_given(path: &str) -> Result<String, Failure> {
    let name = if path == "-" { "standard input" } else { path };
    let given = Given::open(Path::new(path)).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    read_bounded(name, given)
}

fn read_bounded(name: &str, source: impl Read) -> Result<String, Failure> {
    let mut text = String::new();
    source
        .take(INPUT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::Usage(format!("{name} has more than {INPUT_BYTES_MAX} bytes, no document is that large")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_passed_on_as_it_was_typed() {
        assert_eq!(read(r#"{"b": 1.0, "a":null}"#).unwrap(), r#"{"b": 1.0, "a":null}"#);
        assert_eq!(read("{a:1}").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_file_is_read_up_to_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body.json");
        std::fs::write(&file, "{\"a\": 1}\n").unwrap();
        assert_eq!(read(&format!("@{}", file.display())).unwrap(), "{\"a\": 1}\n");
        assert!(read_bounded("endless", std::io::repeat(b' ')).unwrap_err().to_string().contains("endless has more"));
        assert!(read("@/nowhere/at/all").unwrap_err().to_string().contains("/nowhere/at/all"));
    }
}
