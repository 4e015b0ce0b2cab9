#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twin_storage_fuzz::run("journal_header", bytes));
