//! OpenTelemetry's messages. They lie in several packages that refer to each other, so the modules nest as the packages
//! do.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 4] = [
    "opentelemetry/proto/common/v1/common.proto",
    "opentelemetry/proto/resource/v1/resource.proto",
    "opentelemetry/proto/metrics/v1/metrics.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
];
/// Stands before every package.
const ROOT: &str = "opentelemetry.proto.";

/// The file that they become.
pub(crate) fn file() -> PathBuf {
    crate::generated().join("opentelemetry.rs")
}

pub(crate) fn generate() -> Result<String, Box<dyn Error>> {
    let files = protox::compile(FILES, [crate::root().join("proto")])?;
    let packages: BTreeMap<String, prost_build::Module> = files
        .file
        .iter()
        .map(|file| {
            (file.package().to_string(), prost_build::Module::from_protobuf_package_name(file.package()))
        })
        .collect();
    let requests = files
        .file
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file))
        .collect();
    // Their comments have drawings, which would be taken for code.
    let code = prost_build::Config::new().disable_comments(["."]).generate(requests)?;
    let mut text = String::new();
    for (package, module) in &packages {
        let names: Vec<&str> =
            package.strip_prefix(ROOT).ok_or("a package of somebody else")?.split('.').collect();
        names.iter().for_each(|name| text.push_str(&format!("pub mod {name} {{\n")));
        text.push_str(code.get(module).map_or("", String::as_str));
        text.push_str(&"}\n".repeat(names.len()));
    }
    // `collector.metrics` and `metrics` have different parents, so no module is opened twice.
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_messages_of_opentelemetry_that_are_checked_in_are_up_to_date() {
        let checked_in = std::fs::read_to_string(super::file()).unwrap();
        assert!(super::generate().unwrap() == checked_in, "run: cargo run -p protogen");
    }
}
