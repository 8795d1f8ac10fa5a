use std::ops::Range;

use model::{Labels, SeriesData, TimeRange, is_covered};

use super::batch::RowRef;
use super::{MergeError, MergeStats, copy};
use crate::read::{RowForm, SampleRows, assemble};
use crate::windows::{Piece, pieces};
use crate::write::Writer;

/// Rows that belong together: one with floats, or the parts of one form of histograms.
#[derive(Debug, Clone)]
struct Unit {
    rows: Range<usize>,
    form: RowForm,
    times: TimeRange,
    /// Which file it comes from.
    file: usize,
    /// Whether a deletion takes some of its samples.
    is_cut: bool,
}

/// Writes the rows of one series, whichever inputs they come from.
pub(super) fn write(
    writer: &mut Writer,
    labels: &Labels,
    rows: &[RowRef],
    window_ms: i64,
    stats: &mut MergeStats,
) -> Result<(), MergeError> {
    let window_ms = window_ms.max(1);
    let mut units = units(rows, stats);
    let window = |unit: &Unit| unit.times.start.div_euclid(window_ms);
    units.sort_by_key(|unit| (window(unit), unit.form == RowForm::Part, unit.times.start));
    let before = writer.n_rows();
    let mut form = 0;
    let mut rest = &units[..];
    while !rest.is_empty() {
        let group = take_group(&mut rest, window_ms);
        if is_copied(group) && copy::rows(writer, labels, &rows[group_rows(group)], &mut form)? {
            stats.copied_rows += group.iter().map(|unit| unit.rows.len() as u64).sum::<u64>();
            continue;
        }
        stats.decoded_rows += group.iter().map(|unit| unit.rows.len() as u64).sum::<u64>();
        let data = decode(labels, rows, group)?;
        rewrite(writer, labels, data, window_ms, &mut form)?;
    }
    if writer.n_rows() > before {
        writer.end_series(labels);
    }
    Ok(())
}

/// The units of a series, without those that are deleted whole.
fn units(rows: &[RowRef], stats: &mut MergeStats) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let file = row.batch.file.number;
        let form = row.form();
        match units.last_mut() {
            Some(last) if form == RowForm::Part && !copy::begins_form(row) && last.file == file => {
                last.rows.end = at + 1;
            }
            _ => {
                let times = row.times();
                units.push(Unit { rows: at..at + 1, form, times, file, is_cut: false });
            }
        }
    }
    units.retain_mut(|unit| {
        let ranges = deleted(&rows[unit.rows.start]);
        unit.is_cut = ranges.iter().any(|range| range.overlaps(&unit.times));
        let is_gone = unit.is_cut && is_covered(unit.times, ranges);
        stats.deleted_rows += if is_gone { unit.rows.len() as u64 } else { 0 };
        !is_gone
    });
    units
}

/// The ranges in which samples of the row's series are deleted from its file.
fn deleted(row: &RowRef) -> Vec<TimeRange> {
    let concerned = row.batch.file.deletions.iter().filter(|deletion| deletion.concerns(row.run()));
    concerned.map(|deletion| deletion.range).collect()
}

/// Splits off the units that become rows together: those of one kind that overlap or lie in one window.
fn take_group<'a>(units: &mut &'a [Unit], window_ms: i64) -> &'a [Unit] {
    let Some(first) = units.first() else { return &[] };
    let mut end = first.times.end;
    let mut len = 1;
    for unit in &units[1..] {
        let same_window = unit.times.start.div_euclid(window_ms) == end.div_euclid(window_ms);
        if unit.form != first.form || (unit.times.start > end && !same_window) {
            break;
        }
        end = end.max(unit.times.end);
        len += 1;
    }
    let (group, rest) = units.split_at(len);
    *units = rest;
    group
}

/// Whether nothing but these rows has samples of their kind in their window: one row of floats, or forms that one
/// file has side by side.
fn is_copied(group: &[Unit]) -> bool {
    let Some(first) = group.first() else { return false };
    let alone = group.len() == 1 || first.form == RowForm::Part;
    let together = group.windows(2).all(|pair| {
        pair[0].file == pair[1].file
            && pair[0].rows.end == pair[1].rows.start
            && pair[0].times == pair[1].times
    });
    alone && together && group.iter().all(|unit| !unit.is_cut)
}

fn group_rows(group: &[Unit]) -> Range<usize> {
    let start = group.first().map_or(0, |unit| unit.rows.start);
    start..group.last().map_or(start, |unit| unit.rows.end)
}

/// The samples of a group, without deleted ones; where rows disagree both are there.
fn decode(labels: &Labels, rows: &[RowRef], group: &[Unit]) -> Result<SeriesData, MergeError> {
    let mut data = SeriesData::new(labels.clone());
    for unit in group {
        let rows = &rows[unit.rows.clone()];
        let gone = if unit.is_cut { deleted(&rows[0]) } else { Vec::new() };
        let is_left = |ts: i64| !gone.iter().any(|range| range.contains(ts));
        let name = &rows[0].batch.file.name;
        let broken = |e| MergeError::read(name, e);
        match unit.form {
            RowForm::Floats => {
                let samples = SampleRows::new(&rows[0].batch.record, TimeRange::ALL).map_err(broken)?;
                let (mut column, starts) =
                    samples.floats(rows[0].row, rows[0].timeline()?).map_err(broken)?;
                for (ts, cell) in column.timeline.iter().zip(&mut column.values) {
                    if !is_left(*ts) {
                        *cell = f64::from_bits(model::EMPTY);
                    }
                }
                data.floats.push(column);
                data.starts.extend(starts.into_iter().filter(|(ts, _)| is_left(*ts)));
            }
            RowForm::Part => {
                let mut parts = Vec::with_capacity(rows.len());
                for row in rows {
                    let samples = SampleRows::new(&row.batch.record, TimeRange::ALL).map_err(broken)?;
                    parts.push(samples.part(row.row, row.timeline()?).map_err(broken)?);
                }
                let mut points = assemble(&parts).map_err(broken)?;
                points.retain(|point| is_left(point.timestamp));
                data.histograms.extend(points);
            }
        }
    }
    Ok(data)
}

fn rewrite(
    writer: &mut Writer,
    labels: &Labels,
    data: SeriesData,
    window_ms: i64,
    form: &mut i32,
) -> Result<(), MergeError> {
    for Piece { floats, shared, starts, histograms } in pieces(data, window_ms) {
        if let Some(column) = floats {
            writer.write_floats(super::SHARD, labels, column, shared, &starts)?;
        }
        if !histograms.is_empty() {
            writer.write_histograms(super::SHARD, labels, &histograms, form)?;
        }
    }
    Ok(())
}
