//! Generates `crates/wire/src/generated` from `proto/`, with a compiler written in Rust. Run by hand when a
//! `.proto` file changes; a test says so when that was forgotten.
//!
//! On the path: nowhere; a tool.
//!
//! Always true:
//! - the code that is checked in is what this tool makes of the files that are checked in.

mod opentelemetry;
mod services;

use std::error::Error;
use std::path::{Path, PathBuf};

/// Files of `proto/`, the package of each and the file that it becomes.
const MESSAGES: [(&str, &str, &str); 3] = [
    ("prometheus/remote.proto", "prometheus", "prometheus.rs"),
    ("prometheus/read.proto", "prometheus", "prometheus_read.rs"),
    ("prometheus/remote2.proto", "io.prometheus.write.v2", "prometheus2.rs"),
];

fn main() -> Result<(), Box<dyn Error>> {
    for (proto, package, file) in MESSAGES {
        std::fs::write(generated().join(file), generate(proto, package)?)?;
        println!("{proto} -> {file}");
    }
    std::fs::write(opentelemetry::file(), opentelemetry::generate()?)?;
    println!("opentelemetry/proto -> opentelemetry.rs");
    std::fs::write(services::file(), services::generate()?)?;
    println!("firn/v1 -> firn.rs");
    Ok(())
}

fn generate(proto: &str, package: &str) -> Result<String, Box<dyn Error>> {
    let files = protox::compile([proto], [root().join("proto")])?;
    let module = prost_build::Module::from_protobuf_package_name(package);
    let requests = files.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut code = prost_build::Config::new().generate(requests)?;
    code.remove(&module).ok_or_else(|| format!("{proto} generates nothing").into())
}

fn generated() -> PathBuf {
    root().join("crates/wire/src/generated")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_that_is_checked_in_is_up_to_date() {
        for (proto, package, file) in MESSAGES {
            let checked_in = std::fs::read_to_string(generated().join(file)).unwrap();
            assert!(generate(proto, package).unwrap() == checked_in, "run: cargo run -p protogen");
        }
    }
}
