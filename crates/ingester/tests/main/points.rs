//! The list of fault points agrees with the source.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn every_fault_point_is_listed_once_and_each_phase_has_five() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src", "../wal/src"] {
        for entry in fs::read_dir(here.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                found.extend(points_in(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    let listed: BTreeSet<String> = ingester::FAULT_POINTS.iter().map(ToString::to_string).collect();
    assert_eq!(listed, found);
    assert_eq!(listed.len(), ingester::FAULT_POINTS.len(), "a point is listed twice");
    for phase in ["push", "append", "cut", "upload", "commit", "drop", "replay"] {
        let n = listed.iter().filter(|point| point.split('.').next() == Some(phase)).count();
        assert!(n >= 5, "{phase} has {n} fault points");
    }
}

fn points_in(source: &str) -> Vec<String> {
    let after = source.split("fault::point(\"").skip(1);
    after.filter_map(|rest| rest.split('"').next()).map(str::to_string).collect()
}
