use hashbrown::HashSet;
use model::{Exemplar, METRIC_NAME, Metadata, MetricType};
use wire::RefusalReason;

use crate::canonical::describe;
use crate::histogram::{self, Decoded, Starts};
use crate::intake::{DecodeError, Found, Intake, Mark};
use crate::proto::{Malformed, Reader, Wire};
use crate::remote_write::{LARGE_SERIES, MAX_EXEMPLAR_CHARS, description, metric_type, n_chars, stored};
use crate::symbols::{OUT_OF_RANGE, SYMBOL_BYTES, Symbols, collect_refs};

/// Reads an `io.prometheus.write.v2.Request`. What is malformed anywhere is an error; the caller drops the batch then.
/// The labels of a series are references, so a small body may stand for much text: it is bounded by `max_bytes`.
pub(crate) fn decode(
    body: &[u8],
    max_bytes: usize,
    symbols: &mut Symbols,
    intake: &mut Intake<'_>,
    metadata: &mut Vec<Metadata>,
) -> Result<(), DecodeError> {
    let n_series = read_symbols(body, symbols, intake)?;
    let mut request = Request { body, symbols, metadata, described: HashSet::new(), n_described: 0 };
    let mut reader = Reader::new(body);
    let mut n_read = 0;
    while n_read < n_series {
        let (number, wire) = reader.tag()?;
        if number != 5 {
            reader.skip(number, wire)?;
            continue;
        }
        n_read += 1;
        request.time_series(reader.message(wire)?, intake)?;
        let n_bytes = intake.n_appended() + request.n_described;
        if n_bytes > max_bytes {
            return Err(DecodeError::Expands { limit: max_bytes as u64 });
        }
    }
    Ok(())
}

/// Takes the texts, which may lie anywhere in the message, and counts the series.
fn read_symbols(body: &[u8], symbols: &mut Symbols, intake: &mut Intake<'_>) -> Result<usize, DecodeError> {
    symbols.clear();
    let seed = intake.rules.seed;
    let mut reader = Reader::new(body);
    let (mut n_series, mut is_version_1) = (0, false);
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            4 => {
                let text = reader.bytes(wire)?;
                if symbols.len() == 0 && !text.is_empty() {
                    return Err(reader.malformed("the first symbol is not empty").into());
                }
                if symbols.len().is_multiple_of(1024) {
                    intake.take_memory(1024 * SYMBOL_BYTES)?;
                }
                symbols.push(text, &reader, seed);
            }
            5 => {
                reader.message(wire)?;
                n_series += 1;
            }
            _ => {
                // Series and metadata of remote write 1.0. To skip them would be to lose them silently.
                is_version_1 |= matches!(number, 1 | 3) && wire == Wire::Len;
                reader.skip(number, wire)?;
            }
        }
    }
    let is_version_2 = symbols.len() + n_series > 0;
    if is_version_1 && !is_version_2 { Err(DecodeError::NotVersion2) } else { Ok(n_series) }
}

/// A request while its series are read.
struct Request<'a> {
    body: &'a [u8],
    symbols: &'a mut Symbols,
    metadata: &'a mut Vec<Metadata>,
    /// Which descriptions were taken: each series of a family repeats them. Family, type, help and unit.
    described: HashSet<(&'a [u8], i32, u32, u32)>,
    /// Their bytes.
    n_described: usize,
}

impl<'a> Request<'a> {
    #[inline]
    fn time_series(&mut self, mut reader: Reader<'a>, intake: &mut Intake<'_>) -> Result<(), DecodeError> {
        if intake.wants_replica() {
            let refs = collect_refs(reader.clone(), 1)?;
            intake.find_replica(self.symbols.run_of(self.body, Reader::new(&refs))?)?;
        }
        if reader.rest().len() > LARGE_SERIES {
            intake.expect_bytes(reader.rest().len())?;
        }
        let whole = reader.clone();
        let refs = match reader.rest().first() {
            Some(0x0A) => {
                reader.advance(1);
                reader.message(Wire::Len)?
            }
            _ => reader.nothing(),
        };
        // References in several pieces or after the samples: nobody sends that, but it is valid.
        let Some(found) = self.find(refs.clone(), intake)? else {
            return self.scattered_series(whole, intake);
        };
        let mark = Mark::of(intake.columns(&found));
        if self.read_samples(&mut reader, intake, &found, refs.clone(), Refs::Behind)? {
            return self.finish(intake, &found, mark, refs, whole);
        }
        mark.undo(intake.columns(&found));
        self.scattered_series(whole, intake)
    }

    #[cold]
    fn scattered_series(
        &mut self,
        mut reader: Reader<'a>,
        intake: &mut Intake<'_>,
    ) -> Result<(), DecodeError> {
        let whole = reader.clone();
        let refs = collect_refs(reader.clone(), 1)?;
        let refs = Reader::new(&refs);
        let unpaired = || reader.malformed("a label name without a value");
        let found = self.find(refs.clone(), intake)?.ok_or_else(unpaired)?;
        let mark = Mark::of(intake.columns(&found));
        self.read_samples(&mut reader, intake, &found, refs.clone(), Refs::Anywhere)?;
        self.finish(intake, &found, mark, refs, whole)
    }

    #[inline]
    fn find(&mut self, refs: Reader<'_>, intake: &mut Intake<'_>) -> Result<Option<Found>, DecodeError> {
        let Some(key) = self.symbols.key_of(&refs)? else { return Ok(None) };
        if let Some(found) = intake.known(key) {
            return Ok(Some(found));
        }
        let run = self.symbols.run_of(self.body, refs)?;
        Ok(Some(intake.work_out_as(run, key)?))
    }

    /// Reads everything but references. False when some turn up that should have been behind.
    #[inline]
    fn read_samples(
        &mut self,
        reader: &mut Reader<'a>,
        intake: &mut Intake<'_>,
        found: &Found,
        refs: Reader<'_>,
        mut expected: Refs,
    ) -> Result<bool, DecodeError> {
        let columns = intake.columns(found);
        while let Some(sample) = reader.plain_sample_with_start() {
            let start = plausible(sample.start, sample.timestamp);
            columns.push_float(sample.timestamp, start, stored(sample.bits));
        }
        // What Prometheus puts behind every sample: an empty description.
        if reader.rest() == [0x2A, 0x00] {
            return Ok(true);
        }
        while !reader.is_done() {
            let here = reader.clone();
            let (number, wire) = reader.tag()?;
            if number != 2 && expected == Refs::Behind {
                // What is refused from here on is counted, so it must not be read twice.
                if has_refs(here)? {
                    return Ok(false);
                }
                expected = Refs::Anywhere;
            }
            match number {
                2 => {
                    let (timestamp, start, value) = read_sample(reader.message(wire)?)?;
                    intake.columns(found).push_float(timestamp, plausible(start, timestamp), value);
                }
                3 => self.read_histogram(reader.message(wire)?, intake, found, refs.clone())?,
                4 => self.read_exemplar(reader.message(wire)?, intake, found, refs.clone())?,
                5 => {
                    let message = reader.message(wire)?;
                    if !message.is_done() {
                        self.read_metadata(message, intake, found, refs.clone())?;
                    }
                }
                _ => reader.skip(number, wire)?,
            }
        }
        Ok(true)
    }

    fn finish(
        &mut self,
        intake: &mut Intake<'_>,
        found: &Found,
        mark: Mark,
        refs: Reader<'_>,
        whole: Reader<'_>,
    ) -> Result<(), DecodeError> {
        if mark.is_end_of(intake.columns(found)) && brings_nothing(whole)? {
            let raw = self.symbols.run_of(self.body, refs.clone())?;
            let message = || format!("series has neither samples nor histograms: {}", describe(raw));
            intake.refused.refuse(RefusalReason::EmptySeries, 0, message);
        }
        let raw = match found {
            Found::Refused(_) => self.symbols.run_of(self.body, refs)?,
            Found::Series(_) => &[],
        };
        Ok(intake.finish(found, mark, raw)?)
    }

    fn read_histogram(
        &mut self,
        reader: Reader<'_>,
        intake: &mut Intake<'_>,
        found: &Found,
        refs: Reader<'_>,
    ) -> Result<(), DecodeError> {
        // A bucket of one byte becomes eight.
        intake.expect_bytes(reader.rest().len())?;
        let max_buckets = intake.rules.limits.max_native_histogram_buckets;
        let Decoded { timestamp, start_timestamp, histogram } =
            histogram::read(reader, max_buckets, Starts::Read)?;
        match histogram {
            Ok(histogram) => {
                let start = plausible(start_timestamp, timestamp);
                intake.columns(found).histograms.push(Decoded::sample(histogram, timestamp, start));
            }
            Err(fault) => {
                intake.counts.histograms += 1;
                let raw = self.symbols.run_of(self.body, refs)?;
                let message = || format!("{fault}: {} at {timestamp}", describe(raw));
                intake.refused.refuse(RefusalReason::InvalidHistogram, 1, message);
            }
        }
        Ok(())
    }

    fn read_exemplar(
        &mut self,
        mut reader: Reader<'_>,
        intake: &mut Intake<'_>,
        found: &Found,
        series: Reader<'_>,
    ) -> Result<(), DecodeError> {
        intake.counts.exemplars += 1;
        let refs = collect_refs(reader.clone(), 1)?;
        let (mut timestamp, mut value) = (0, 0.0f64);
        while !reader.is_done() {
            let (number, wire) = reader.tag()?;
            match number {
                2 => value = reader.double(wire)?,
                3 => timestamp = reader.int64(wire)?,
                _ => reader.skip(number, wire)?,
            }
        }
        let mut run = Vec::with_capacity(64);
        let is_text = self.symbols.write_run(self.body, Reader::new(&refs), &mut run)?;
        if !is_text || n_chars(&run) > MAX_EXEMPLAR_CHARS {
            intake.counts.exemplars_dropped += 1;
            let raw = self.symbols.run_of(self.body, series)?;
            intake.refused.refuse(RefusalReason::InvalidExemplar, 1, || {
                format!(
                    "exemplar at {timestamp} has labels that are not UTF-8 or of more than {MAX_EXEMPLAR_CHARS} characters: {}",
                    describe(raw)
                )
            });
            return Ok(());
        }
        let labels = intake.append(&run);
        intake.columns(found).exemplars.push(Exemplar { timestamp, value, labels });
        Ok(())
    }

    /// Takes the description of the series' family, once per request.
    #[cold]
    fn read_metadata(
        &mut self,
        mut reader: Reader<'_>,
        intake: &mut Intake<'_>,
        found: &Found,
        refs: Reader<'_>,
    ) -> Result<(), DecodeError> {
        let (mut kind, mut help, mut unit) = (0, 0, 0);
        while !reader.is_done() {
            let (number, wire) = reader.tag()?;
            match number {
                1 => kind = reader.uint64(wire)? as i32,
                3 => help = reader.uint32(wire)?,
                4 => unit = reader.uint32(wire)?,
                _ => reader.skip(number, wire)?,
            }
        }
        let text = |symbol| self.symbols.get(self.body, symbol).ok_or_else(|| refs.malformed(OUT_OF_RANGE));
        let (help_text, unit_text) = (text(help)?, text(unit)?);
        let is_empty = kind == 0 && help_text.is_empty() && unit_text.is_empty();
        let Some(name) =
            self.name_of(refs.clone())?.filter(|_| !is_empty && matches!(found, Found::Series(_)))
        else {
            return Ok(());
        };
        let metric_type = metric_type(kind);
        let family = family_of(name, metric_type);
        if !self.described.insert((family, kind, help, unit)) {
            return Ok(());
        }
        intake.counts.metadata += 1;
        let max_len = intake.rules.limits.max_metadata_length as usize;
        match description(metric_type, family, help_text, unit_text, max_len) {
            Some(described) => {
                self.n_described += described.family.len() + described.help.len() + described.unit.len();
                intake.take_memory(size_of::<Metadata>() + 3 * described.help.len() + 256)?;
                self.metadata.push(described);
            }
            None => intake.counts.metadata_dropped += 1,
        }
        Ok(())
    }

    /// The name of the series.
    fn name_of(&self, mut refs: Reader<'_>) -> Result<Option<&'a [u8]>, Malformed> {
        while !refs.is_done() {
            let (name, value) = (refs.varint()? as u32, refs.varint()? as u32);
            if self.symbols.get(self.body, name) == Some(METRIC_NAME.as_bytes()) {
                return Ok(self.symbols.get(self.body, value));
            }
        }
        Ok(None)
    }
}

/// Whether more references follow.
fn has_refs(mut reader: Reader<'_>) -> Result<bool, Malformed> {
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        if number == 1 {
            return Ok(true);
        }
        reader.skip(number, wire)?;
    }
    Ok(false)
}

/// Whether a series has no sample, histogram or exemplar, not even one that was refused, nor a description.
#[cold]
fn brings_nothing(mut reader: Reader<'_>) -> Result<bool, Malformed> {
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            2..=4 => return Ok(false),
            5 => {
                if !reader.message(wire)?.is_done() {
                    return Ok(false);
                }
            }
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(true)
}

/// Where references may still be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refs {
    Behind,
    Anywhere,
}

/// A start that lies before its sample, or 0 for unknown: no counter begins after what it counted.
fn plausible(start: i64, timestamp: i64) -> i64 {
    if (1..=timestamp).contains(&start) { start } else { 0 }
}

fn read_sample(mut reader: Reader<'_>) -> Result<(i64, i64, f64), Malformed> {
    let (mut timestamp, mut start, mut value) = (0, 0, 0.0f64);
    while !reader.is_done() {
        let (number, wire) = reader.tag()?;
        match number {
            1 => value = reader.double(wire)?,
            2 => timestamp = reader.int64(wire)?,
            3 => start = reader.int64(wire)?,
            _ => reader.skip(number, wire)?,
        }
    }
    Ok((timestamp, start, stored(value.to_bits())))
}

/// The family of a series: those of classic histograms and summaries have names of their own.
fn family_of(name: &[u8], kind: MetricType) -> &[u8] {
    let suffixes: &[&[u8]] = match kind {
        MetricType::Histogram => &[b"_bucket", b"_count", b"_sum"],
        MetricType::GaugeHistogram => &[b"_bucket", b"_gcount", b"_gsum"],
        MetricType::Summary => &[b"_count", b"_sum"],
        _ => &[],
    };
    let stripped = suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix));
    stripped.filter(|family| !family.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_histogram_name_its_family() {
        for (name, kind, family) in [
            ("a_bucket", MetricType::Histogram, "a"),
            ("a_sum", MetricType::Summary, "a"),
            ("a_bucket", MetricType::Summary, "a_bucket"),
            ("a_count", MetricType::Counter, "a_count"),
            ("a_gsum", MetricType::GaugeHistogram, "a"),
            ("_sum", MetricType::Summary, "_sum"),
            ("a", MetricType::Histogram, "a"),
        ] {
            assert_eq!(family_of(name.as_bytes(), kind), family.as_bytes(), "{name} {kind:?}");
        }
    }

    #[test]
    fn a_start_after_its_sample_is_no_start() {
        assert_eq!([plausible(5, 9), plausible(9, 9), plausible(10, 9)], [5, 9, 0]);
        assert_eq!([plausible(0, 9), plausible(-1, 9), plausible(-9, -1)], [0, 0, 0]);
    }
}
