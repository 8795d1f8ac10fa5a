//! Rules that matter are kept by a test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Rust files below `folder`, without generated ones.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().to_string();
        if path.is_dir() && name != "generated" && name != "target" {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}

/// The names in backquotes of the table rows below the heading that starts with `head`.
fn table(document: &str, head: &str) -> Vec<Vec<Vec<String>>> {
    let rows = document.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_string).collect();
    rows.map(|row| row.trim_matches('|').split('|').map(names).collect()).collect()
}

fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            found.insert(name.to_string());
        }
    }
    found
}

#[test]
fn crates_depend_only_on_lower_layers_as_the_drawing_says() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut layers = BTreeMap::new();
    let rows = document.lines().skip_while(|line| !line.starts_with("| layer |")).skip(2);
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let layer: u32 = cells[0].parse().unwrap();
        for name in cells[1].split('`').skip(1).step_by(2) {
            layers.insert(name.to_string(), layer);
        }
    }
    let mut crates = BTreeSet::new();
    for entry in fs::read_dir(root().join("crates")).unwrap().map(Result::unwrap) {
        crates.insert(entry.file_name().to_string_lossy().to_string());
    }
    let aside = ["testkit", "protogen"];
    let drawn: BTreeSet<String> =
        layers.keys().cloned().chain(aside.iter().map(|name| name.to_string())).collect();
    assert_eq!(drawn, crates, "docs/architecture.md and crates/ list different crates");

    for (name, layer) in &layers {
        for dependency in dependencies(&root().join("crates").join(name).join("Cargo.toml")) {
            assert!(!aside.contains(&dependency.as_str()), "{name} depends on {dependency} outside of tests");
            let Some(lower) = layers.get(&dependency) else { continue };
            let sideways = (name.as_str(), dependency.as_str()) == ("bucket", "block");
            assert!(
                lower < layer || sideways,
                "{name} (layer {layer}) depends on {dependency} (layer {lower})"
            );
        }
    }
}

#[test]
fn heavy_crates_have_one_door() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let heavy = table(&document, "| heavy crate |");
    assert!(!heavy.is_empty());
    for row in heavy {
        let (name, doors) = (&row[0][0], &row[1]);
        for entry in fs::read_dir(root().join("crates")).unwrap().map(Result::unwrap) {
            let of = entry.file_name().to_string_lossy().to_string();
            let uses = dependencies(&entry.path().join("Cargo.toml")).contains(name);
            assert!(!uses || doors.contains(&of), "{of} depends on {name}, which belongs to {doors:?}");
        }
    }
}

/// Everything that a package of ours links, itself included.
fn linked(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_string())).collect()
}

#[test]
fn a_role_links_only_what_it_needs() {
    let document = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let rows = table(&document, "| binary |");
    assert_eq!(rows.len(), 5, "a row for each role");
    let everything = linked("firn");
    for row in rows {
        let (binary, absent) = (&row[0][0], &row[1]);
        let linked = linked(binary);
        assert!(linked.contains("server") && linked.contains("app"), "{binary}: {linked:?}");
        for name in absent {
            assert!(!linked.contains(name), "{binary} links {name}");
            assert!(everything.contains(name), "no such crate is linked anywhere: {name}");
        }
        println!(
            "{binary} links {} crates of {}, none of {}",
            linked.len(),
            everything.len(),
            absent.join(" ")
        );
    }
}

#[test]
fn only_runtime_knows_the_time_spawns_and_catches_panics() {
    // Spelled in two halves so that this file is not its own finding.
    let banned = [
        concat!("Instant::", "now"),
        concat!("SystemTime::", "now"),
        concat!("Timestamp::", "now"),
        concat!("tokio::", "spawn"),
        concat!("tokio::time::", "sleep"),
        concat!("spawn_", "blocking"),
        concat!("Ulid::", "new()"),
        concat!("catch_", "unwind"),
    ];
    for path in sources(&root().join("crates")) {
        let relative = path.strip_prefix(root()).unwrap().display().to_string();
        let exempt =
            ["crates/runtime/", "crates/testkit/", "crates/loadgen/", "/tests/", "/benches/", "/fuzz/"];
        if exempt.iter().any(|part| relative.contains(part)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in banned {
            assert!(!text.contains(word), "{relative} uses {word}; it belongs to runtime");
        }
    }
}

#[test]
fn every_room_says_where_it_stands() {
    for entry in fs::read_dir(root().join("crates")).unwrap().map(Result::unwrap) {
        let library = entry.path().join("src/lib.rs");
        let path = if library.exists() { library } else { entry.path().join("src/main.rs") };
        let text = fs::read_to_string(&path).unwrap();
        let name = entry.file_name();
        assert!(text.starts_with("//! "), "{name:?} does not say what it is");
        let on_the_path = text.contains("//! On the path:") || name == "protogen";
        assert!(on_the_path, "{name:?} does not say where it stands on the path");
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut documents = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "md") {
                documents.push(entry.path());
            }
        }
    }
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{} links to {link}, which is not there", document.display());
        }
    }
}

#[test]
fn long_files_and_functions_are_seen() {
    let mut files: Vec<(usize, String)> = Vec::new();
    for path in sources(&root().join("crates")) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        files.push((lines, path.strip_prefix(root()).unwrap().display().to_string()));
    }
    files.sort_unstable_by(|a, b| b.cmp(a));
    for (lines, path) in files.iter().take(10) {
        println!("{lines:>5} lines  {path}");
    }
    assert!(files[0].0 < 1000, "{} has {} lines: is a noun missing?", files[0].1, files[0].0);
}
