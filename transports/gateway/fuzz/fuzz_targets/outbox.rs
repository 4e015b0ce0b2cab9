#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| twin_gateway_fuzz::run("outbox", bytes));
