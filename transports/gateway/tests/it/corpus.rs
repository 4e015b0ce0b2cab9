//! The fuzzer's corpus goes through the fuzzer's functions, without the fuzzer.

use twin_fuzz_corpus::Corpus;

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "a crate of its own to the fuzzer, which calls by name")]
mod fuzz;

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    Corpus::of(env!("CARGO_MANIFEST_DIR")).pass(&fuzz::TARGETS);
}
