#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| castore_fuzz::check("chunk", input));
