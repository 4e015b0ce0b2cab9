#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twin_core_fuzz::run("view", bytes));
