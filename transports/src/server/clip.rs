//! Keeping refusals short enough that a frame full of them stays below the frame limit.

use twin_core::refusal::Refusal;

/// Longest text in a refusal that goes down: 256 refusals of three texts each stay below a frame.
const TEXT_BYTES_MAX: usize = 1024;

/// Shortens the free texts of a refusal.
pub(super) fn clipped(mut refusal: Refusal) -> Refusal {
    match &mut refusal {
        Refusal::Rule(violation) => {
            clip(&mut violation.pointer);
            clip(&mut violation.message);
        }
        Refusal::TooLarge { what: a, pointer: b, .. } => {
            clip(a);
            clip(b);
        }
        Refusal::NotFound { twin: text }
        | Refusal::PathNotFound { pointer: text }
        | Refusal::PreconditionFailed { message: text }
        | Refusal::NotConnected { message: text }
        | Refusal::MethodNotFound { method: text }
        | Refusal::Busy { what: text, .. }
        | Refusal::Unavailable { message: text, .. }
        | Refusal::Invalid { message: text } => clip(text),
        // The others hold numbers and names, which have short bounds of their own.
        _ => {}
    }
    refusal
}

/// Shortens a text to what a refusal may say.
pub(super) fn clip(text: &mut String) {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut text = "\u{20ac}".repeat(1000);
        clip(&mut text);
        assert!(text.len() <= TEXT_BYTES_MAX && text.ends_with("\u{20ac}..."));
    }
}
