//! What the fuzzer calls with any bytes, and `cargo test` with those of the corpus: a start finds something in an outbox's rows or refuses
//! them, and never panics; and what was read and written is read and written as the same.

use twin_gateway::outbox_rows_again;

/// Takes any bytes.
pub type Body = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: [(&str, Body); 1] = [("outbox", outbox)];

/// Runs one target.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target");
    body(bytes);
}

/// Rows of an outbox, each behind its kind and its length.
fn outbox(bytes: &[u8]) {
    if let Some(written) = outbox_rows_again(bytes) {
        assert_eq!(outbox_rows_again(&written).expect("our own rows"), written);
    }
}
