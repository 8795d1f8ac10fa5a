//! Generates `crates/wire/src/generated` from `proto/`, with a compiler written in Rust. Run by hand when a
//! `.proto` file changes; a test says so when that was forgotten.
//!
//! On the path: nowhere; a tool.
//!
//! Always true:
//! - the code that is checked in is what this tool makes of the files that are checked in.

use std::error::Error;
use std::path::{Path, PathBuf};

/// Files of `proto/` and the file that each becomes.
const MESSAGES: [(&str, &str); 1] = [("prometheus/remote.proto", "prometheus.rs")];

fn main() -> Result<(), Box<dyn Error>> {
    for (proto, file) in MESSAGES {
        std::fs::write(generated().join(file), generate(proto)?)?;
        println!("{proto} -> {file}");
    }
    Ok(())
}

fn generate(proto: &str) -> Result<String, Box<dyn Error>> {
    let files = protox::compile([proto], [root().join("proto")])?;
    let module = prost_build::Module::from_protobuf_package_name("prometheus");
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
        for (proto, file) in MESSAGES {
            let checked_in = std::fs::read_to_string(generated().join(file)).unwrap();
            assert!(generate(proto).unwrap() == checked_in, "run: cargo run -p protogen");
        }
    }
}
