#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| galley_fuzz::erofs(bytes));
