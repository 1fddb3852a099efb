#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| iperf3_mesh::fuzzing::http_request(bytes));
