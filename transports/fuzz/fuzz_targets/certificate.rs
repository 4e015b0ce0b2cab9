#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twin_transports_fuzz::run("certificate", bytes));
