//! Our own services: messages, clients and servers, for `rpc`.

use std::error::Error;
use std::path::PathBuf;

use crate::root;

/// All files of the package `firn.v1`; they become one module.
const PROTOS: [&str; 3] = ["firn/v1/model.proto", "firn/v1/ingester.proto", "firn/v1/frontend.proto"];

pub(crate) fn file() -> PathBuf {
    root().join("crates/rpc/src/generated/firn.rs")
}

pub(crate) fn generate() -> Result<String, Box<dyn Error>> {
    let files = protox::compile(PROTOS, [root().join("proto")])?;
    let module = prost_build::Module::from_protobuf_package_name("firn.v1");
    let requests = files.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut config = prost_build::Config::new();
    config.bytes(["."]).service_generator(tonic_prost_build::configure().service_generator());
    config.generate(requests)?.remove(&module).ok_or_else(|| "firn.v1 generates nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_that_are_checked_in_are_up_to_date() {
        let checked_in = std::fs::read_to_string(file()).unwrap();
        assert!(generate().unwrap() == checked_in, "run: cargo run -p protogen");
    }
}
