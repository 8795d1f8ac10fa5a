//! What is to be done with the files of a table: decisions without I/O.

use std::collections::BTreeMap;

use block::Day;
use bucket::{FileEntry, RunTag, Snapshot};

/// A sequence of files may be merged with smaller ones that have a quarter of its bytes together. So it is rewritten
/// after it has grown by a quarter, and a byte about ten times until a day has grown a thousandfold.
const RATIO: u64 = 4;

/// When what is merged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rules {
    pub(crate) day_grace_ms: i64,
    pub(crate) settle_ms: i64,
    pub(crate) final_after_ms: i64,
    pub(crate) deletion_delay_ms: i64,
    /// Deletions until then do not wait.
    pub(crate) hurry_until_ms: i64,
    pub(crate) open_day_runs: usize,
    pub(crate) max_inputs: usize,
    pub(crate) max_job_bytes: u64,
}

/// Something to do with files of one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) day: Day,
    /// Paths, run by run; the files of a run follow each other.
    pub(crate) inputs: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Several runs become one.
    Merge,
    /// A file is written again without what is deleted from it.
    Rewrite,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Merge => "merge",
            Kind::Rewrite => "rewrite",
        }
    }
}

/// What matters of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) day: Day,
    pub(crate) size: u64,
    pub(crate) written_ms: i64,
    pub(crate) run: Option<RunTag>,
    /// When the first of its deletions was asked for.
    pub(crate) deletion_ms: Option<i64>,
}

/// Files that follow each other in the order of a block: the outputs of one merge, or a file by itself.
#[derive(Debug, Clone, Default)]
struct Run {
    files: Vec<(u32, String)>,
    size: u64,
    newest_ms: i64,
}

impl File {
    /// `None` for a file that another writer made, or that has no day: those are left alone.
    fn of(entry: &FileEntry, snapshot: &Snapshot) -> Option<File> {
        entry.tag("firn.format").filter(|format| *format == block::schema::FORMAT)?;
        let deletions = entry.deletion_ids().filter_map(|id| snapshot.deletion(id));
        Some(File {
            path: entry.path.clone(),
            day: entry.day?,
            size: entry.size,
            written_ms: entry.modification_time,
            run: entry.run(),
            deletion_ms: deletions.map(|deletion| deletion.created_ms).min(),
        })
    }
}

/// The files of a table that are ours to merge.
pub(crate) fn files(snapshot: &Snapshot) -> Vec<File> {
    snapshot.files().filter_map(|entry| File::of(entry, snapshot)).collect()
}

/// The most urgent thing to do, `None` when there is nothing.
pub(crate) fn plan(files: &[File], now_ms: i64, rules: &Rules) -> Option<Job> {
    rewrite(files, now_ms, rules).or_else(|| merge(files, now_ms, rules))
}

/// The end of the oldest day that has something to merge.
pub(crate) fn waiting(files: &[File], now_ms: i64, rules: &Rules) -> Option<i64> {
    merges(files, now_ms, rules).map(|job| job.day.start_ms() + Day::MS).min()
}

fn rewrite(files: &[File], now_ms: i64, rules: &Rules) -> Option<Job> {
    let is_due = |at: i64| at + rules.deletion_delay_ms <= now_ms || at <= rules.hurry_until_ms;
    let due = |file: &&File| file.deletion_ms.is_some_and(is_due);
    let file = files.iter().filter(due).min_by_key(|file| (file.deletion_ms, &file.path))?;
    Some(Job { kind: Kind::Rewrite, day: file.day, inputs: vec![vec![file.path.clone()]] })
}

/// The day with the most to merge.
fn merge(files: &[File], now_ms: i64, rules: &Rules) -> Option<Job> {
    merges(files, now_ms, rules).max_by_key(|job| (job.inputs.len(), job.day))
}

/// What is to be merged, day by day.
fn merges(files: &[File], now_ms: i64, rules: &Rules) -> impl Iterator<Item = Job> {
    let mut by_day = BTreeMap::<Day, Vec<&File>>::new();
    for file in files {
        by_day.entry(file.day).or_default().push(file);
    }
    by_day.into_iter().filter_map(move |(day, files)| {
        let inputs = choose(runs(&files), day, now_ms, rules)?;
        Some(Job { kind: Kind::Merge, day, inputs })
    })
}

/// The runs of a day, smallest first.
fn runs(files: &[&File]) -> Vec<Run> {
    let mut by_id = BTreeMap::<&str, Run>::new();
    for file in files {
        let (id, place) = match &file.run {
            Some(tag) => (tag.run.as_str(), tag.place),
            None => (file.path.as_str(), 0),
        };
        let run = by_id.entry(id).or_default();
        run.files.push((place, file.path.clone()));
        run.size += file.size;
        run.newest_ms = run.newest_ms.max(file.written_ms);
    }
    let mut runs: Vec<Run> = by_id.into_values().collect();
    for run in &mut runs {
        run.files.sort();
    }
    runs.sort_by(|a, b| a.size.cmp(&b.size).then_with(|| a.files.cmp(&b.files)));
    runs
}

/// Which runs of a day are merged now: the smallest ones, up to one that is not too large for them.
fn choose(runs: Vec<Run>, day: Day, now_ms: i64, rules: &Rules) -> Option<Vec<Vec<String>>> {
    let quiet_ms = now_ms - runs.iter().map(|run| run.newest_ms).max()?;
    let is_over = now_ms >= day.start_ms() + Day::MS + rules.day_grace_ms;
    let is_final = is_over && quiet_ms >= rules.final_after_ms;
    let wanted = if is_over && quiet_ms >= rules.settle_ms { 2 } else { rules.open_day_runs.max(2) };
    let mut below = 0u64;
    let mut n = 0;
    for (at, run) in runs.iter().enumerate().take(rules.max_inputs.max(2)) {
        if below.saturating_add(run.size) > rules.max_job_bytes {
            break;
        }
        if at > 0 && (is_final || run.size <= below.saturating_mul(RATIO)) {
            n = at + 1;
        }
        below += run.size;
    }
    // As many as can be merged at once are enough, even where more are there.
    let is_worth_it = n >= wanted.min(rules.max_inputs.max(2));
    let paths = |run: Run| run.files.into_iter().map(|(_, path)| path).collect();
    is_worth_it.then(|| runs.into_iter().take(n).map(paths).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const MB: u64 = 1 << 20;

    fn rules() -> Rules {
        Rules {
            day_grace_ms: HOUR,
            settle_ms: HOUR / 4,
            final_after_ms: 40 * HOUR,
            deletion_delay_ms: HOUR / 4,
            hurry_until_ms: i64::MIN,
            open_day_runs: 16,
            max_inputs: 48,
            max_job_bytes: 1 << 30,
        }
    }

    fn day() -> Day {
        Day::of(20_000 * Day::MS)
    }

    /// Files of a day with these sizes, written one an hour.
    fn sized(sizes: &[u64]) -> Vec<File> {
        let file = |(i, size): (usize, &u64)| File {
            path: format!("f{i:04}"),
            day: day(),
            size: *size,
            written_ms: day().start_ms() + i as i64 * HOUR,
            run: None,
            deletion_ms: None,
        };
        sizes.iter().enumerate().map(file).collect()
    }

    /// How many runs are merged so many hours after the day's beginning.
    fn merged(files: &[File], hours: i64, rules: &Rules) -> usize {
        plan(files, day().start_ms() + hours * HOUR, rules).map_or(0, |job| job.inputs.len())
    }

    #[test]
    fn a_day_is_merged_once_it_is_over_and_settled() {
        let windows = sized(&[12 * MB; 12]);
        assert_eq!(merged(&windows, 24, &rules()), 0, "its last window may be on its way");
        assert_eq!(merged(&windows, 25, &rules()), 12);
        let mut late = windows.clone();
        late[3].written_ms = day().start_ms() + 25 * HOUR - 60_000;
        assert_eq!(merged(&late, 25, &rules()), 0, "more may come");
        assert_eq!(merged(&late, 26, &rules()), 12);
    }

    #[test]
    fn many_small_files_are_merged_before_the_day_is_over() {
        assert_eq!(merged(&sized(&[MB; 15]), 20, &rules()), 0);
        assert_eq!(merged(&sized(&[MB; 16]), 20, &rules()), 16);
        assert_eq!(merged(&sized(&[MB; 500]), 20, &rules()), 48, "never more than allowed at once");
        let few = Rules { max_inputs: 4, ..rules() };
        assert_eq!(merged(&sized(&[MB; 500]), 20, &few), 4);
    }

    #[test]
    fn a_large_file_is_not_rewritten_for_little() {
        let sizes = [144 * MB, MB, 1000];
        assert_eq!(merged(&sized(&sizes), 26, &rules()), 0, "each is far larger than what is below it");
        assert_eq!(merged(&sized(&[144 * MB, MB, MB, 1000]), 26, &rules()), 3);
        assert_eq!(merged(&sized(&[144 * MB, 40 * MB, 1000, 36 * MB]), 28, &rules()), 4);
        assert_eq!(merged(&sized(&sizes), 50, &rules()), 3, "in the end there is one sequence");
        assert_eq!(merged(&sized(&[144 * MB]), 500, &rules()), 0);
    }

    #[test]
    fn a_job_has_a_bound_in_bytes() {
        let bounded = Rules { max_job_bytes: 100 * MB, ..rules() };
        assert_eq!(merged(&sized(&[30 * MB; 12]), 26, &bounded), 3);
        assert_eq!(merged(&sized(&[60 * MB; 12]), 100, &bounded), 0);
    }

    #[test]
    fn however_files_come_no_byte_is_rewritten_often() {
        // A month's backfill: a tiny file every minute of a day that is over long since.
        let mut files: Vec<File> = Vec::new();
        let (mut written, mut came, mut next) = (0, 0, 0);
        for minute in 0..5_000i64 {
            let now_ms = day().start_ms() + 100 * HOUR + minute * 60_000;
            let new = |path, size, now_ms| File { path, size, written_ms: now_ms, ..sized(&[1])[0].clone() };
            files.push(new(format!("f{minute}"), 1000, now_ms));
            came += 1000;
            while let Some(job) = plan(&files, now_ms, &rules()) {
                let inputs: Vec<String> = job.inputs.concat();
                let size =
                    files.iter().filter(|file| inputs.contains(&file.path)).map(|file| file.size).sum();
                files.retain(|file| !inputs.contains(&file.path));
                written += size;
                next += 1;
                files.push(new(format!("merged{next}"), size, now_ms));
            }
            assert!(files.len() <= 40, "{} files", files.len());
        }
        assert!(written < 12 * came, "{} times", written / came);
    }

    #[test]
    fn the_outputs_of_one_merge_are_one_input() {
        let mut files = sized(&[100 * MB, 100 * MB, 100 * MB, 90 * MB]);
        for (place, file) in files[..3].iter_mut().enumerate() {
            file.run = Some(RunTag { run: "r".to_string(), place: 2 - place as u32 });
        }
        let job = plan(&files, day().start_ms() + 40 * HOUR, &rules()).unwrap();
        assert_eq!(job.inputs, [vec!["f0003"], vec!["f0002", "f0001", "f0000"]]);
    }

    #[test]
    fn deletions_come_first_once_they_have_waited() {
        let mut files = sized(&[12 * MB; 12]);
        let now_ms = day().start_ms() + 26 * HOUR;
        files[5].deletion_ms = Some(now_ms - HOUR / 4 + 1);
        assert_eq!(plan(&files, now_ms, &rules()).unwrap().kind, Kind::Merge);
        let job = plan(&files, now_ms + 1, &rules()).unwrap();
        assert_eq!((job.kind, job.inputs), (Kind::Rewrite, vec![vec!["f0005".to_string()]]));
    }

    #[test]
    fn what_waits_is_told_by_the_end_of_its_day() {
        let files = sized(&[MB; 12]);
        assert_eq!(waiting(&files, day().start_ms() + 26 * HOUR, &rules()), Some(day().start_ms() + Day::MS));
        assert_eq!(waiting(&files, day().start_ms() + 20 * HOUR, &rules()), None);
    }
}
