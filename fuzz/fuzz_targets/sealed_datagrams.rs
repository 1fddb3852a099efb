#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| iperf3_mesh_core::fuzzing::sealed_datagrams(bytes));
